"""All that will be measured, before anything is: queries, pools and beams, and every check that needs no answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from selector.arrays import BoolArray, Float32Array, Int8Array, Int64Array
from selector.data.checks import check_dataset, check_embeddings
from selector.data.dataset import Dataset, Outcome, Split
from selector.data.embeddings import unit_rows
from selector.data.place import Place, file_label
from selector.data.queries import QueryTable
from selector.errors import DataError
from selector.model import PointerSelector
from sweep.collect.proposers import Policy, Proposals, propose, selector_policy
from sweep.collect.queries import build_queries, choose_split, cosines, further_queries, load_queries, queries_at
from sweep.settings.collect import CollectSettings, PoolBy
from sweep.settings.proposers import Proposer
from sweep.vlm.work import WorkItem


class Items(Protocol):
    """What is needed of an item table."""

    def __len__(self) -> int:
        """Number of items (M)."""

    def answers(self, item: int) -> tuple[str, ...]:
        """Ground-truth answers."""

    def image_id(self, item: int) -> int:
        """Equal for items on one image."""


@dataclass(frozen=True)
class Beams:
    """Beams to be measured.

    Attributes:
        queries: with their pools. Every pool has at least S candidates.
        embeddings: float32 [M, D].
        unit: the same at unit length.
        beam_picks: int64 [sum N, S], pool positions. Distinct beams within a query.
        beam_starts: int64 [Q + 1].
        proposers: per beam, who proposed it first.
        rounds: int64 [sum N], the round that each beam was proposed in, from 1.
        counts: what is worth telling: `short_pools`, `short_queries` (with fewer beams than asked for), `short_beams`.
    """

    queries: QueryTable
    embeddings: Float32Array
    unit: Float32Array
    beam_picks: Int64Array
    beam_starts: Int64Array
    proposers: tuple[Proposer, ...]
    rounds: Int64Array
    counts: Counter[str]

    def __len__(self) -> int:
        """Number of beams, which is the number of work items."""
        return len(self.beam_picks)

    def shown(self, query: int) -> Int64Array:
        """Item ids of a query's beams in order, int64 [N, S]. `query` is a position."""
        return self.queries.pool(query)[self.beam_picks[self.beam_starts[query] : self.beam_starts[query + 1]]]

    def work_items(self) -> Iterator[WorkItem]:
        """One per beam, query by query. No two are equal."""
        for query, item in enumerate(self.queries.query_items.tolist()):
            for demonstrations in self.shown(query).tolist():
                yield WorkItem(item, tuple(demonstrations))


def propose_beams(
    settings: CollectSettings,
    table: Items,
    embeddings: Float32Array,
    separate: Mapping[PoolBy, Float32Array] | None = None,
    *,
    leave_out_zeros: bool = False,
    known: QueryTable | None = None,
    further: int = 0,
) -> Beams:
    """Propose every query's beams. The same arguments give the same beams.

    Args:
        settings: which beams. The selector is loaded from its folder.
        table: the items.
        embeddings: float32 [M, D].
        separate: of images or questions alone, float32 [M, d], as far as the pools need them. Made unit length here.
        leave_out_zeros: whether an item without an embedding is no query and no candidate. Else it is refused.
        known: queries of a data set that is extended. Then the beams are those of further training queries.
        further: how many of them.

    Raises:
        DataError: embeddings, queries, pools or splits that cannot be used, queries without answers.
        CheckpointError: the selector cannot be loaded, or has another width than the embeddings.
    """
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    check_embeddings(embeddings, "collect.embeddings")
    if len(embeddings) != len(table):
        raise DataError(f"collect.embeddings: {len(embeddings)} rows for {len(table)} items; expected one row per item")
    unit = unit_rows(embeddings)
    images, answered_M = _columns(table)
    counts: Counter[str] = Counter()
    if leave_out_zeros:
        zeros_M = answered_M & ~embeddings.any(axis=1)
        answered_M &= ~zeros_M
        counts["items_without_embedding"] = int(zeros_M.sum())
    if settings.queries is not None:
        queries = load_queries(settings.queries, images, answered_M)
        if known is not None:
            queries = further_queries(queries, known, further, settings.seed)
        place = Place(file_label(settings.queries))
    else:
        build = settings.build if known is None else settings.build.replace(count=further)
        units = {PoolBy.SIMILARITY: unit, **_unit_tables(separate or {}, len(table))}
        queries = build_queries(build, images, answered_M, units, settings.seed, known=known)
        place = Place("collect.build")
        counts["short_pools"] = int((np.diff(queries.pool_starts) < settings.build.pool.size).sum())
    _check_pools(settings, queries, place)
    groups = list(_proposals(settings, queries, embeddings, unit))
    short = Counter(
        short_queries=sum(group.short > 0 for group in groups), short_beams=sum(group.short for group in groups)
    )
    beams = beams_of(queries, embeddings, unit, groups, 1, counts + short)
    if known is not None:
        return beams  # checked with what they are added to
    # Everything that would be refused after the last answer is refused before the first one.
    unmeasured = {Outcome.ACC_SCORE: np.zeros(len(beams), dtype=np.float32)}
    check_dataset(
        dataset_of(beams, np.ones(len(beams), dtype=bool), unmeasured), place.file, embeddings_file="the embeddings"
    )
    return beams


def query_splits(settings: CollectSettings, table: Items) -> Int8Array:
    """The splits of the queries that will be asked, int8 [Q]: what is known of them without embeddings."""
    images, answered_M = _columns(table)
    if settings.queries is not None:
        return load_queries(settings.queries, images, answered_M).split
    return choose_split(settings.build, images, answered_M, settings.seed)[1]


def _columns(table: Items) -> tuple[Int64Array, BoolArray]:
    """The image of every item, int64 [M], and whether it has answers, bool [M]."""
    images = np.array([table.image_id(item) for item in range(len(table))], dtype=np.int64)
    answered_M = np.array([len(table.answers(item)) > 0 for item in range(len(table))], dtype=np.bool_)
    return images, answered_M


def _unit_tables(separate: Mapping[PoolBy, Float32Array], items: int) -> dict[PoolBy, Float32Array]:
    """The tables themselves, now of unit length."""
    for kind, table in separate.items():
        check_embeddings(table, f"collect.{kind}_embeddings")
        if len(table) != items:
            raise DataError(
                f"collect.{kind}_embeddings: {len(table)} rows for {items} items; expected one row per item"
            )
    return {kind: unit_rows(table, out=table) for kind, table in separate.items()}


def beams_of(
    queries: QueryTable,
    embeddings: Float32Array,
    unit: Float32Array,
    groups: Sequence[Proposals],
    number: int,
    counts: Counter[str] | None = None,
) -> Beams:
    """Beams of one round, from the proposals for each of its queries."""
    picks = [picks for group in groups for picks in group.picks]
    return Beams(
        queries=queries,
        embeddings=embeddings,
        unit=unit,
        beam_picks=np.array(picks, dtype=np.int64),
        beam_starts=np.concatenate([[0], np.cumsum([len(group.picks) for group in groups])]).astype(np.int64),
        proposers=tuple(proposer for group in groups for proposer in group.proposers),
        rounds=np.full(len(picks), number, dtype=np.int64),
        counts=counts or Counter(),
    )


def part_of(beams: Beams, queries: Int64Array, most: int | None = None) -> Beams:
    """The beams of some queries in another order, and no more than `most` of them. Without the counts.

    Args:
        beams: all of them.
        queries: int64, positions of queries, each once.
        most: after so many beams the rest is left out, also within a query.
    """
    sizes = np.diff(beams.beam_starts)[queries]
    if most is not None:
        sizes = np.clip(most - (np.cumsum(sizes) - sizes), 0, sizes)
        queries, sizes = queries[sizes > 0], sizes[sizes > 0]
    rows = np.repeat(beams.beam_starts[queries] - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
    return Beams(
        queries=queries_at(beams.queries, queries),
        embeddings=beams.embeddings,
        unit=beams.unit,
        beam_picks=beams.beam_picks[rows],
        beam_starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        proposers=tuple(beams.proposers[row] for row in rows.tolist()),
        rounds=beams.rounds[rows],
        counts=Counter(),
    )


def dataset_of(
    beams: Beams, kept: BoolArray, outcomes: dict[Outcome, Float32Array], counts: dict[str, int] | None = None
) -> Dataset:
    """The data set of the beams that are kept (bool [sum N]), without the queries that have none left.

    `outcomes` are float32 [number kept] per column.
    """
    owner = np.repeat(np.arange(len(beams.queries)), np.diff(beams.beam_starts))[kept]
    beams_of = np.bincount(owner, minlength=len(beams.queries))
    left = np.flatnonzero(beams_of)
    queries = queries_at(beams.queries, left)
    return Dataset(
        embeddings=beams.embeddings,
        query_items=queries.query_items,
        pool_items=queries.pool_items,
        pool_starts=queries.pool_starts,
        beam_picks=beams.beam_picks[kept],
        beam_starts=np.concatenate([[0], np.cumsum(beams_of[left])]).astype(np.int64),
        outcomes=outcomes,
        split=queries.split,
        counts=counts or {},
    )


def _check_pools(settings: CollectSettings, queries: QueryTable, place: Place) -> None:
    if not len(queries):
        raise place.error("holds no query")
    sizes = np.diff(queries.pool_starts)
    if (sizes < settings.picks).any():
        query = int((sizes < settings.picks).argmax())
        raise Place(place.file, int(queries.query_items[query])).error(
            f"has {sizes[query]} candidates, but a beam has {settings.picks} picks; give more, or lower picks",
            "pool",
        )


def _proposals(
    settings: CollectSettings, queries: QueryTable, embeddings: Float32Array, unit: Float32Array
) -> Iterator[Proposals]:
    model = given_selector(settings, embeddings.shape[1])
    for query, item in enumerate(queries.query_items.tolist()):
        pool = queries.pool(query)
        counts = settings.beams if queries.split[query] == int(Split.TRAIN) else settings.of_held_out
        policy: Policy | None = None
        if model is not None and counts.of_selector:
            policy = selector_policy(model, embeddings[item], embeddings[pool])
        yield propose(settings, item, cosines(item, pool, unit), policy, counts)


def given_selector(settings: CollectSettings, width: int) -> PointerSelector | None:
    """The selector that the settings name, known to read embeddings of this width."""
    if settings.selector is None:
        return None
    model = PointerSelector.from_pretrained(settings.selector)
    if model.config.width != width:
        raise DataError(
            f"{file_label(settings.selector)}: the selector reads embeddings of width {model.config.width}, "
            f"these have {width}"
        )
    return model
