"""From the groups a reader found to the flat columns of a `Dataset`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from selector.arrays import Float32Array, Int64Array
from selector.data.checks import Names, noticed
from selector.data.dataset import Dataset, Outcome
from selector.data.place import Place
from selector.data.settings import SplitSettings
from selector.data.split import assign_splits

# Real files give these for some generation methods only (beam search has them, random beams do not).
MAY_BE_PARTIAL = (Outcome.BEAM_SCORE, Outcome.LOGPROB_SCORE)


@dataclass
class Group:
    """One query while it is being read.

    Attributes:
        item: the query's item id.
        pool: item ids.
        picks: pool positions per kept beam, S each.
        numbers: each kept beam's index in the file, for messages.
        outcomes: per column one value per kept beam, None where the file has none.
    """

    item: int
    pool: list[int] = field(default_factory=list)
    picks: list[list[int]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    outcomes: dict[Outcome, list[float | None]] = field(default_factory=lambda: {outcome: [] for outcome in Outcome})


def assemble(
    groups: Sequence[Group],
    embeddings: Float32Array,
    split: SplitSettings,
    place: Place,
    names: Names,
    counts: Counter[str],
    images: Int64Array | None = None,
) -> tuple[Dataset, Int64Array]:
    """Flat columns of at least one group, and each beam's index in the file (int64 [sum N]).

    Ranges are not checked here. Raises `DataError` for unequal pick counts, columns that only some beams have, and too
    few queries for the splits. `counts` is completed with what the columns show. With `images` (int64, per item),
    queries on one image are in one split, and a query that is none of these items is refused.
    """
    _check_pick_counts(groups, place, names.picks)
    query_items = np.array([group.item for group in groups], dtype=np.int64)
    outcomes = _columns(groups, place, counts)
    if images is not None and not ((query_items >= 0) & (query_items < len(images))).all():
        raise place.error(f"a query is none of the {len(images)} items whose images are known")
    dataset = Dataset(
        embeddings=embeddings,
        query_items=query_items,
        pool_items=_flat(group.pool for group in groups),
        pool_starts=_starts(len(group.pool) for group in groups),
        beam_picks=np.array([row for group in groups for row in group.picks], dtype=np.int64),
        beam_starts=_starts(len(group.picks) for group in groups),
        outcomes=outcomes,
        split=assign_splits(query_items, split, place.file, None if images is None else images[query_items]),
        counts={},
    )
    dataset.counts.update(dict(sorted((counts + noticed(dataset)).items())))
    return dataset, _flat(group.numbers for group in groups)


def _flat(lists: Iterable[list[int]]) -> Int64Array:
    return np.fromiter(chain.from_iterable(lists), dtype=np.int64)


def _starts(lengths: Iterable[int]) -> Int64Array:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, dtype=np.int64))]).astype(np.int64)


def _check_pick_counts(groups: Sequence[Group], place: Place, field_name: str) -> None:
    expected = len(groups[0].picks[0])
    for group in groups:
        for number, row in zip(group.numbers, group.picks, strict=True):
            if len(row) != expected:
                first = f"beam {groups[0].numbers[0]} of query {groups[0].item}"
                raise Place(place.file, group.item, number).error(
                    f"has {len(row)} picks, but {first} has {expected}; all beams must pick the same number", field_name
                )


def _columns(groups: Sequence[Group], place: Place, counts: Counter[str]) -> dict[Outcome, Float32Array]:
    """Columns that every beam has, float32 [sum N] in the order of `Outcome`."""
    columns: dict[Outcome, Float32Array] = {}
    for outcome in Outcome:
        values = [value for group in groups for value in group.outcomes[outcome]]
        present = sum(value is not None for value in values)
        if present == len(values):
            with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the checks refuse
                columns[outcome] = np.array(values, dtype=np.float64).astype(np.float32)
        elif present and outcome in MAY_BE_PARTIAL:
            counts[f"{outcome.value}_values_left_out"] += present
        elif present:
            raise _partial_column(groups, outcome, present, len(values), place)
    return columns


def _partial_column(groups: Sequence[Group], outcome: Outcome, present: int, total: int, place: Place) -> Exception:
    item, number = next(
        (group.item, number)
        for group in groups
        for number, value in zip(group.numbers, group.outcomes[outcome], strict=True)
        if value is None
    )
    return Place(place.file, item, number).error(
        f"is missing or null; {present} of {total} beams have it, and a column must be there for all beams or for none",
        outcome.value,
    )
