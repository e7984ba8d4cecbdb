from __future__ import annotations

import math
from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as test_settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from selector.config import SelectorConfig
from selector.model import build_selector
from sweep.collect.proposers import (
    most_likely,
    propose,
    sampled,
    score_policy,
    selector_policy,
    similarity,
    tempered,
)
from sweep.settings.collect import CollectSettings
from sweep.settings.proposers import BeamCounts, Proposer
from tests.selector.worlds import shake

WIDTH = 5


def policy_of(candidates, decoder="gate", seed=0):
    """A selector that is far from uniform and far from plain similarity."""
    config = SelectorConfig(WIDTH, hidden=8, layers=1, heads=2, decoder=decoder, temperature=0.3, dropout=0.0)
    model = shake(build_selector(config, seed), seed, scale=0.5).eval()
    rng = np.random.default_rng(seed)
    query, pool = rng.normal(size=(1, WIDTH)), rng.normal(size=(candidates, WIDTH))
    return selector_policy(model, query[0].astype(np.float32), pool.astype(np.float32))


def cosines(candidates, seed=0):
    return np.random.default_rng([seed, 7]).uniform(-1, 1, size=candidates)


def total(policy, sequence):
    """Log-probability of a sequence, one step at a time."""
    return sum(policy(np.array([sequence[:step]], dtype=np.int64))[0][pick] for step, pick in enumerate(sequence))


def by_force(policy, candidates, picks):
    sequences = list(permutations(range(candidates), picks))
    return sorted(sequences, key=lambda sequence: -total(policy, sequence))


def settings(picks=2, seed=0, **values):
    beams = {"similarity": 0, "similarity_sampled": 0, "random": 0} | values.pop("beams")
    needs = {"selector": "x"} if beams.get("selector_beam", 0) + beams.get("selector_sampled", 0) else {}
    return CollectSettings.model_validate({"picks": picks, "seed": seed, "beams": beams} | needs | values)


COUNTS = st.fixed_dictionaries(
    {one: st.integers(0, 1 if one == "similarity" else 6) for one in BeamCounts.model_fields}
)


@given(COUNTS.filter(lambda beams: any(beams.values())), st.integers(1, 3), st.integers(3, 9), st.integers(0, 50))
@test_settings(max_examples=60, deadline=None)
def test_beams_are_distinct_sequences_of_distinct_picks_in_the_wanted_numbers(beams, picks, candidates, item):
    found = propose(settings(picks, beams=beams), item, cosines(candidates), policy_of(candidates))
    assert len(set(found.picks)) == len(found.picks)
    for sequence in found.picks:
        assert len(sequence) == len(set(sequence)) == picks
        assert all(0 <= pick < candidates for pick in sequence)
    assert len(found.picks) == len(found.proposers) == min(sum(beams.values()), math.perm(candidates, picks))
    assert found.short == sum(beams.values()) - len(found.picks)
    if not found.short:
        assert Counter(found.proposers) == +Counter({Proposer(name): count for name, count in beams.items()})


@given(COUNTS, COUNTS, st.integers(1, 2), st.integers(3, 7), st.integers(0, 50))
@test_settings(max_examples=60, deadline=None)
def test_more_proposers_and_higher_counts_only_add_beams(fewer, more, picks, candidates, item):
    fewer["random"] += 1
    more = {name: fewer[name] + count for name, count in more.items()} | {"similarity": 1}
    policy = policy_of(candidates)
    small = propose(settings(picks, beams=fewer), item, cosines(candidates), policy)
    large = propose(settings(picks, beams=more), item, cosines(candidates), policy)
    assert set(small.picks) <= set(large.picks)


def test_beams_depend_on_seed_item_and_proposer():
    def beams(item, seed):
        return propose(settings(seed=seed, beams={"random": 5}), item, np.zeros(30)).picks

    assert beams(3, 0) == beams(3, 0)
    assert len({beams(3, 0), beams(4, 0), beams(3, 1)}) == 3
    assert list(islice(sampled(score_policy(np.zeros(30)), 2, 0, 3, "similarity_sampled"), 5)) != list(beams(3, 0))


def test_similarity_shows_the_nearest_last():
    assert similarity(np.array([0.1, 0.9, -0.5, 0.4]), 3) == (0, 3, 1)
    assert similarity(np.array([0.5, 0.5, 0.5]), 2) == (1, 0)
    found = propose(settings(3, beams={"similarity": 1}), 0, np.array([0.1, 0.9, -0.5, 0.4]))
    assert (found.picks, found.proposers) == (((0, 3, 1),), (Proposer.SIMILARITY,))


@pytest.mark.parametrize("picks", [1, 2, 4])
def test_cold_similarity_sampling_gives_the_nearest(picks):
    cosine_K = cosines(12)
    cold = settings(picks, similarity_temperature=1e-4, beams={"similarity_sampled": 1})
    for item in range(20):
        assert propose(cold, item, cosine_K).picks == (similarity(cosine_K, picks),)


@pytest.mark.parametrize("picks", [1, 2, 3])
def test_cold_sampling_gives_the_most_likely_sequences_in_order(picks):
    for policy in (tempered(policy_of(6), 1e-6), score_policy(cosines(6) * 1e6)):
        drawn = list(islice(sampled(policy, picks, 1), 10))
        best = by_force(policy, 6, picks)[:10]
        assert drawn[0] == best[0]
        # Sequences without the best candidate tie with their permutations: the totals are what is ordered.
        totals = [[total(policy, sequence) for sequence in found] for found in (drawn, best)]
        np.testing.assert_allclose(totals[0], totals[1], atol=1e-3)


def test_hot_sampling_is_uniform():
    hot = settings(similarity_temperature=1e12, beams={"similarity_sampled": 1})
    drawn = Counter(propose(hot, item, cosines(4)).picks[0] for item in range(3000))
    assert len(drawn) == 12
    assert chisquare(list(drawn.values())).pvalue > 1e-3
    policy = tempered(policy_of(4), 1e12)
    drawn = Counter(next(sampled(policy, 2, item)) for item in range(1500))
    assert len(drawn) == 12
    assert chisquare(list(drawn.values())).pvalue > 1e-3


@pytest.mark.parametrize("policy", [score_policy(cosines(4) / 0.5), policy_of(4)], ids=["similarity", "selector"])
def test_sampling_follows_the_policy_without_replacement(policy):
    """Probability of an ordered pair of sequences: p(a) p(b) / (1 - p(a))."""
    draws = 4000
    probability = {sequence: math.exp(total(policy, sequence)) for sequence in permutations(range(4), 2)}
    assert math.isclose(sum(probability.values()), 1, rel_tol=1e-6)
    pairs = Counter(tuple(islice(sampled(policy, 2, "x", draw), 2)) for draw in range(draws))
    expected = {
        (a, b): draws * probability[a] * probability[b] / (1 - probability[a]) for a, b in permutations(probability, 2)
    }
    common = [pair for pair, number in expected.items() if number >= 5]
    rest = draws - sum(expected[pair] for pair in common)
    observed = [pairs[pair] for pair in common]
    test = chisquare([*observed, draws - sum(observed)], [*(expected[pair] for pair in common), rest])
    assert test.pvalue > 1e-3


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
@test_settings(max_examples=40, deadline=None)
def test_sampling_to_the_end_gives_every_sequence_once(picks, more, label):
    candidates = picks + more
    scores = np.random.default_rng(label).normal(scale=100, size=candidates)
    drawn = list(sampled(score_policy(scores), picks, label))
    assert sorted(drawn) == sorted(permutations(range(candidates), picks))


@pytest.mark.parametrize("decoder", ["static", "gate"])
@pytest.mark.parametrize(("candidates", "picks"), [(5, 1), (7, 2), (9, 2)])
def test_beam_search_equals_brute_force(decoder, candidates, picks):
    for seed in range(5):
        policy = policy_of(candidates, decoder, seed)
        best = by_force(policy, candidates, picks)
        found = most_likely(policy, picks, 12, max(12, candidates))
        assert found == best[: len(found)]
        assert len(found) == min(12, len(best))
    # wide enough for every prefix, it is exact for any number of picks
    assert most_likely(policy_of(5, decoder), 3, 60, 60) == by_force(policy_of(5, decoder), 5, 3)


def test_selector_beams_are_the_selectors_own_and_start_with_its_most_likely():
    policy = policy_of(10)
    asked = settings(beams={"selector_beam": 4, "selector_sampled": 3})
    found = propose(asked, 5, cosines(10), policy)
    assert list(found.picks[:4]) == by_force(policy, 10, 2)[:4]
    assert found.proposers == (Proposer.SELECTOR_BEAM,) * 4 + (Proposer.SELECTOR_SAMPLED,) * 3
    with pytest.raises(ValueError, match="without a selector"):
        propose(asked, 5, cosines(10))


def test_a_beam_keeps_who_proposed_it_first():
    """Three candidates have six pairs; the nearest one is proposed by all of them."""
    beams = {"similarity": 1, "similarity_sampled": 2, "random": 4}
    found = propose(settings(beams=beams), 0, cosines(3))
    assert found.proposers[0] is Proposer.SIMILARITY
    assert Counter(found.proposers) == {Proposer.SIMILARITY: 1, Proposer.SIMILARITY_SAMPLED: 2, Proposer.RANDOM: 3}
    assert found.short == 1
