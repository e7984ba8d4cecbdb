"""Rounds of beams: the first one for every query, further ones where more is to be learnt.

A collection asks one sequence of prompts. The first round comes first, its validation and test queries before all
others. Then come the training queries, in each round in another random order. A budget cuts this sequence at its end.
So validation and test groups are measured alike, whatever the budget. A budget of hours that stopped after N prompts
gives the data of a budget of N prompts.

Every round is a function of the settings and of the results before it. A collection that was stopped at any point
begins again, and finds in the store what was answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selector.arrays import Float32Array, Int64Array
from selector.data.collection import Round
from selector.data.dataset import Split
from selector.data.queries import QueryTable
from selector.errors import DataError
from selector.model import PointerSelector
from selector.seeds import derive_seed, hashed_order
from sweep.collect.beams import Beams, beams_of, given_selector, part_of
from sweep.collect.measure import Measured, collected_of
from sweep.collect.online import selector_fingerprint, train_online
from sweep.collect.outcomes import is_correct
from sweep.collect.proposers import Known, Proposals, credit, propose, selector_policy
from sweep.collect.queries import cosines, joined, queries_at
from sweep.settings.collect import CollectSettings
from sweep.settings.rounds import RoundsSettings, Until

BLOCK = 256
"""Queries that are asked together where the time is looked at between them."""

Ask = Callable[[Beams], Measured]
IsSpent = Callable[[int], bool]
"""Told the prompts so far. Whether no more may be asked."""


@dataclass(frozen=True)
class Collection:
    """All rounds.

    Attributes:
        measured: all beams of all rounds, those of a query together, round by round.
        rounds: what each round of this collection asked.
        is_cut: whether the budget left out beams.
    """

    measured: Measured
    rounds: tuple[Round, ...]
    is_cut: bool


def collect_in_rounds(
    settings: CollectSettings,
    first: Beams,
    ask: Ask,
    is_spent: IsSpent | None = None,
    before: Measured | None = None,
    start: int = 1,
) -> Collection:
    """Measure the first round, and further ones as the settings say.

    Args:
        settings: rounds and budget.
        first: beams of the first round. None at all where `before` only gets further ones.
        ask: has beams answered.
        is_spent: asked after every block of queries, for a budget of hours. None: no such budget.
        before: an earlier collection that is extended. Its beams cost nothing.
        start: number of the first round.
    """
    parts = [] if before is None else [before]
    order = joined([*(part.beams.queries for part in parts), first.queries])
    counts = first.counts + (Counter() if before is None else before.beams.counts)
    rounds: list[Round] = []
    left = None if settings.budget is None else settings.budget.prompts
    further = 0 if settings.rounds is None else settings.rounds.most
    is_cut = False
    for number in range(start, start + (len(first) > 0) + further):
        model: PointerSelector | None = None
        if len(first) and number == start:
            beams = _first_round(settings, first, number)
        elif settings.rounds is not None:
            so_far = merged(parts, order, counts)
            model = _selector(settings, settings.rounds, so_far, number)
            beams = further_round(settings, settings.rounds, so_far, model, number)
        if not len(beams):
            break
        asked, before_it = 0, sum(one.prompts for one in rounds)
        for block in _blocks(beams, left, whole=is_spent is None):
            parts.append(ask(block))
            asked += len(block)
            is_cut = is_spent is not None and is_spent(before_it + asked)
            if is_cut:
                break
        if asked:
            weights = None if model is None else selector_fingerprint(model)
            rounds.append(Round(number=number, prompts=asked, selector=weights))
        left = None if left is None else left - asked
        is_cut = is_cut or asked < len(beams)
        if is_cut:
            break
    return Collection(merged(parts, order, counts), tuple(rounds), is_cut)


def check_budget(settings: CollectSettings, first: Beams) -> None:
    """Refuse a budget that leaves nothing for training. Raises DataError."""
    prompts = None if settings.budget is None else settings.budget.prompts
    held_out = first.queries.split != int(Split.TRAIN)
    needed = int(np.diff(first.beam_starts)[held_out].sum())
    if prompts is not None and prompts <= needed:
        raise DataError(
            f"collect.budget.prompts: {prompts} prompts, but the {held_out.sum()} validation and test queries, which "
            f"are all measured alike, take {needed} already; raise it, or lower collect.held_out_beams"
        )


def further_round(
    settings: CollectSettings, rounds: RoundsSettings, so_far: Measured, model: PointerSelector | None, number: int
) -> Beams:
    """Beams of the training queries that need more, in the round's order. None of them was measured before.

    Args:
        settings: picks, temperatures and seed.
        rounds: which queries, and how many beams of which kind.
        so_far: all that is measured.
        model: for the proposers that need a selector.
        number: of the round.
    """
    beams, places, groups = so_far.beams, list[int](), list[Proposals]()
    for query in _in_order(beams.queries, settings.seed, number):
        rows = slice(beams.beam_starts[query], beams.beam_starts[query + 1])
        wanted = wanted_beams(rounds, so_far.accuracy[rows])
        if not wanted:
            continue
        item, pool, picks_NS = int(beams.queries.query_items[query]), beams.queries.pool(query), beams.beam_picks[rows]
        known = Known(
            tuple(tuple(picks) for picks in picks_NS.tolist()), credit(picks_NS, so_far.accuracy[rows], len(pool))
        )
        policy = None if model is None else selector_policy(model, beams.embeddings[item], beams.embeddings[pool])
        found = propose(settings, item, cosines(item, pool, beams.unit), policy, rounds.beams, known)
        if found.picks:
            places.append(query)
            groups.append(Proposals(found.picks[:wanted], found.proposers[:wanted], found.short))
    queries = queries_at(beams.queries, np.array(places, dtype=np.int64))
    return beams_of(queries, beams.embeddings, beams.unit, groups, number)


def wanted_beams(rounds: RoundsSettings, accuracy_N: Float32Array) -> int:
    """How many more beams a group gets in the next round, at most.

    Args:
        rounds: the rules.
        accuracy_N: of the group's beams so far. NaN: no answer. A group without any answer gets no more.
    """
    answered = accuracy_N[~np.isnan(accuracy_N)]
    if not len(answered) or (rounds.until is Until.CONTRAST and answered.min() != answered.max()):
        return 0
    hopeless = rounds.give_up is not None and not is_correct(answered).any()
    most = min(rounds.largest, rounds.give_up) if hopeless and rounds.give_up is not None else rounds.largest
    return max(min(rounds.beams.total, most - len(accuracy_N)), 0)


def merged(parts: Sequence[Measured], order: QueryTable, counts: Counter[str]) -> Measured:
    """All parts as one: queries in the given order, beams of a query in the order of the parts.

    Args:
        parts: with distinct beams.
        order: holds the queries of all parts.
        counts: of the whole.
    """
    places = {item: place for place, item in enumerate(order.query_items.tolist())}
    owner = np.concatenate(
        [
            np.repeat([places[item] for item in beams.queries.query_items.tolist()], np.diff(beams.beam_starts))
            for beams in (part.beams for part in parts)
        ]
    ).astype(np.int64)
    rows = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner, minlength=len(order))
    proposers = [proposer for part in parts for proposer in part.beams.proposers]
    texts = [text for part in parts for text in part.texts]
    beams = Beams(
        queries=queries_at(order, np.flatnonzero(sizes)),
        embeddings=parts[0].beams.embeddings,
        unit=parts[0].beams.unit,
        beam_picks=np.concatenate([part.beams.beam_picks for part in parts])[rows],
        beam_starts=np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64),
        proposers=tuple(proposers[row] for row in rows.tolist()),
        rounds=np.concatenate([part.beams.rounds for part in parts])[rows],
        counts=counts,
    )
    outcomes = {name: np.concatenate([part.outcomes[name] for part in parts])[rows] for name in parts[0].outcomes}
    failures = sum((part.failures for part in parts), Counter[str]())
    return Measured(beams, outcomes, [texts[row] for row in rows.tolist()], failures)


def _first_round(settings: CollectSettings, first: Beams, number: int) -> Beams:
    """Held-out queries first, then training queries in the round's order."""
    held_out = np.flatnonzero(first.queries.split != int(Split.TRAIN))
    beams = part_of(first, np.concatenate([held_out, _in_order(first.queries, settings.seed, number)]))
    return replace(beams, rounds=np.full(len(beams), number, dtype=np.int64))


def _in_order(queries: QueryTable, seed: int, number: int) -> Int64Array:
    """Training queries in a round's order, int64 positions."""
    train = np.flatnonzero(queries.split == int(Split.TRAIN)).astype(np.int64)
    return train[hashed_order(queries.query_items[train], f"round:{seed}:{number}:")]


def _blocks(beams: Beams, most: int | None, *, whole: bool) -> Iterator[Beams]:
    """What is asked together: everything within the budget, or blocks of queries, the first with all held-out ones."""
    queries = np.arange(len(beams.queries))
    if whole:
        block = part_of(beams, queries, most)
        yield from [block] if len(block) else []
        return
    start, end = 0, int((beams.queries.split != int(Split.TRAIN)).sum()) + BLOCK
    while start < len(queries):
        yield part_of(beams, queries[start:end])
        start, end = end, end + BLOCK


def _selector(
    settings: CollectSettings, rounds: RoundsSettings, so_far: Measured, number: int
) -> PointerSelector | None:
    """What proposes in a further round."""
    if rounds.online is None:
        return given_selector(settings, so_far.beams.embeddings.shape[1]) if rounds.beams.of_selector else None
    return train_online(rounds.online, collected_of(so_far).dataset, derive_seed(settings.seed, "online", number))
