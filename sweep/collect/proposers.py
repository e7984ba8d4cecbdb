"""Proposing distinct beams for one query.

All proposers give ordered, distinct sequences of S distinct pool positions. Each gives one list per (seed, query item,
proposer) and what was measured of the query. A count takes its first new ones. So another query's beams never change.
One more proposer or a larger count only adds beams (for beam search: up to a width of K, or S <= 2).

Sampling is without replacement over whole sequences: Gumbel-top-k on the tree of prefixes (Kool, van Hoof and Welling,
"Stochastic Beams and Where to Find Them", ICML 2019). Every prefix carries the largest perturbed log-probability of
its continuations. Children are drawn on the condition that their largest equals it. Deviations from the paper: there
is no beam of fixed width, always the best prefix is continued. A prefix's noise depends on the prefix alone. That gives
the same sequences in the same order, one by one, as many as there are.

Legend: N prefixes, S picks, K candidates.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from selector.arrays import Float32Array, Float64Array, Int64Array
from selector.model import PointerSelector
from selector.seeds import derive_seed
from sweep.settings.collect import CollectSettings
from sweep.settings.proposers import Proposer, ProposerCounts

Picks = tuple[int, ...]

# Prefixes int64 [N, s] -> log-probabilities of the next pick, float64 [N, K]. -inf for what the prefix holds already.
Policy = Callable[[Int64Array], Float64Array]


@dataclass(frozen=True)
class Proposals:
    """Beams of one query.

    Attributes:
        picks: distinct sequences of pool positions, in the order of `Proposer`.
        proposers: who proposed each first.
        short: how many more were asked for than the pool has.
    """

    picks: tuple[Picks, ...]
    proposers: tuple[Proposer, ...]
    short: int


@dataclass(frozen=True)
class Known:
    """What was measured of a query before.

    Attributes:
        picks: distinct sequences. None of them is proposed again.
        credit_K: of every candidate, for `combined` (`credit`).
    """

    picks: tuple[Picks, ...]
    credit_K: Float64Array


def propose(
    settings: CollectSettings,
    item: int,
    cosine_K: Float64Array,
    selector_policy: Policy | None = None,
    counts: ProposerCounts | None = None,
    known: Known | None = None,
) -> Proposals:
    """New beams of a query.

    Args:
        settings: picks, temperatures and seed.
        item: the query's item id, from which all randomness comes.
        cosine_K: similarity of every candidate to the query. K >= S.
        selector_policy: the selector's at temperature 1, where it is asked for beams.
        counts: beams per proposer. None: those of the first round, `settings.beams`.
        known: what was measured before. Needed where `combined` is asked for beams.
    """
    counts = counts or settings.beams
    found: dict[Picks, Proposer] = {}
    before = frozenset() if known is None else frozenset(known.picks)
    for proposer in Proposer:
        wanted = len(found) + counts.of(proposer)
        if wanted == len(found):
            continue
        listed = _listed(proposer, settings, item, cosine_K, selector_policy, known, wanted + len(before))
        for picks in listed:
            if picks not in before:
                found.setdefault(picks, proposer)
            if len(found) == wanted:
                break
    return Proposals(tuple(found), tuple(found.values()), counts.total - len(found))


def _listed(
    proposer: Proposer,
    settings: CollectSettings,
    item: int,
    cosine_K: Float64Array,
    selector_policy: Policy | None,
    known: Known | None,
    wanted: int,
) -> Iterable[Picks]:
    """A proposer's list, at least its first `wanted` entries where there are so many."""
    S = settings.picks
    labels = (settings.seed, item, proposer.value)
    if proposer is Proposer.SIMILARITY:
        return [similarity(cosine_K, S)]
    if proposer is Proposer.RANDOM:
        return sampled(score_policy(np.zeros_like(cosine_K)), S, *labels)
    if proposer is Proposer.SIMILARITY_SAMPLED:
        drawn = sampled(score_policy(cosine_K / settings.similarity_temperature), S, *labels)
        return (picks[::-1] for picks in drawn)  # what is drawn first, the nearest most often, is shown last
    if proposer is Proposer.COMBINED:
        if known is None or settings.rounds is None:
            raise ValueError(f"{proposer} without measured beams")
        drawn = sampled(score_policy(known.credit_K / settings.rounds.credit_temperature), S, *labels)
        return (order for picks in drawn for order in (picks, picks[::-1]))  # nothing is known yet of the order
    if selector_policy is None:
        raise ValueError(f"{proposer} without a selector")
    if proposer is Proposer.SELECTOR_BEAM:
        return most_likely(selector_policy, S, wanted, max(wanted, len(cosine_K)))
    return sampled(tempered(selector_policy, settings.selector_temperature), S, *labels)


def credit(picks_NS: Int64Array, accuracy_N: Float32Array, candidates: int) -> Float64Array:
    """Mean accuracy of the beams that show each candidate, float64 [K], with one more beam of the group's mean.

    So a candidate that was never shown has the group's mean, and one lucky beam counts half.

    Args:
        picks_NS: a group's measured beams, pool positions.
        accuracy_N: of each beam. NaN, a beam without an answer, says nothing.
        candidates: size of the pool (K).
    """
    answered_N = ~np.isnan(accuracy_N)
    shown = picks_NS[answered_N].reshape(-1)
    accuracy = accuracy_N[answered_N].astype(np.float64)
    mean = float(accuracy.mean()) if len(accuracy) else 0.0
    total_K = np.bincount(shown, np.repeat(accuracy, picks_NS.shape[1]), candidates)
    return np.asarray((total_K + mean) / (np.bincount(shown, minlength=candidates) + 1))


def similarity(cosine_K: Float64Array, picks: int) -> Picks:
    """The nearest candidates, the nearest one last. Ties by position."""
    order = np.argsort(-cosine_K, kind="stable")[:picks]
    return tuple(order[::-1].tolist())


def score_policy(score_K: Float64Array) -> Policy:
    """Picks in proportion to exp(score) among what is left (Plackett-Luce)."""

    def log_probs(prefix_Ns: Int64Array) -> Float64Array:
        score_NK = np.tile(score_K, (len(prefix_Ns), 1))
        np.put_along_axis(score_NK, prefix_Ns, -np.inf, axis=1)
        return _log_softmax(score_NK)

    return log_probs


def tempered(policy: Policy, temperature: float) -> Policy:
    """Every step's log-probabilities divided by a temperature and normalised again."""
    return lambda prefix_Ns: _log_softmax(policy(prefix_Ns) / temperature)


@torch.no_grad()
def selector_policy(model: PointerSelector, query_D: Float32Array, cand_KD: Float32Array) -> Policy:
    """A selector's own distribution. The query and its pool are encoded once, alone, so that nothing else moves it."""
    mask_BK = torch.ones(1, len(cand_KD), dtype=torch.bool)
    encoding = model.encode(torch.from_numpy(query_D)[None], torch.from_numpy(cand_KD)[None], mask_BK)

    @torch.no_grad()
    def log_probs(prefix_Ns: Int64Array) -> Float64Array:
        # The last pick of a beam does not influence its own step. Any position completes the prefix.
        beams_BNS = torch.from_numpy(np.pad(prefix_Ns, ((0, 0), (0, 1))))[None]
        step_NK = model.step_log_probs(encoding, beams_BNS)[0, :, -1]
        return np.asarray(step_NK.double().numpy(), dtype=np.float64)

    return log_probs


def most_likely(policy: Policy, picks: int, count: int, width: int) -> list[Picks]:
    """Beam search for the most likely sequences, best first. Exact for `width` >= K and S <= 2."""
    prefix_Ns = np.zeros((1, 0), dtype=np.int64)
    total_N = np.zeros(1)
    for _ in range(picks):
        total_NK = total_N[:, None] + policy(prefix_Ns)
        candidates = total_NK.shape[1]
        order = np.argsort(-total_NK, axis=None, kind="stable")[:width]
        order = order[np.isfinite(total_NK.reshape(-1)[order])]
        prefix_Ns = np.column_stack([prefix_Ns[order // candidates], order % candidates])
        total_N = total_NK.reshape(-1)[order]
    return [tuple(row) for row in prefix_Ns[:count].tolist()]


def sampled(policy: Policy, picks: int, *labels: object) -> Iterator[Picks]:
    """Sequences drawn one after the other without replacement, until there are no more.

    The first has exactly the policy's distribution. Each further one that of the policy without those drawn before.

    Args:
        policy: distribution of the next pick.
        picks: length of a sequence (S).
        labels: what the randomness depends on.
    """
    # The largest perturbed value of all is Gumbel distributed and independent of the order: any number will do.
    heap: list[tuple[float, Picks, float]] = [(0.0, (), 0.0)]
    while heap:
        negative, prefix, log_prob = heapq.heappop(heap)
        if len(prefix) == picks:
            yield prefix
            continue
        step_K = policy(np.array([prefix], dtype=np.int64))[0]
        noise = np.random.Generator(np.random.Philox(key=derive_seed(*labels, *prefix)))
        perturbed_K = _children(-negative, log_prob + step_K, noise.gumbel(size=len(step_K)))
        for pick in np.flatnonzero(np.isfinite(perturbed_K)).tolist():
            heapq.heappush(heap, (-float(perturbed_K[pick]), (*prefix, pick), log_prob + float(step_K[pick])))


def _children(largest: float, log_prob_K: Float64Array, gumbel_K: Float64Array) -> Float64Array:
    """Perturbed log-probabilities on the condition that their largest is given (appendix B.3 of the paper)."""
    free_K = log_prob_K + gumbel_K
    with np.errstate(divide="ignore"):
        # log(1 - exp(x)) without loss for small |x|. -inf for the largest itself
        below_K = free_K - free_K.max()
        log1mexp_K = np.where(below_K > -math.log(2), np.log(-np.expm1(below_K)), np.log1p(-np.exp(below_K)))
    v_K = largest - free_K + log1mexp_K
    return np.asarray(largest - np.maximum(0, v_K) - np.log1p(np.exp(-np.abs(v_K))))


def _log_softmax(score_NK: Float64Array) -> Float64Array:
    shifted_NK = score_NK - score_NK.max(axis=1, keepdims=True)
    return np.asarray(shifted_NK - np.log(np.exp(shifted_NK).sum(axis=1, keepdims=True)))
