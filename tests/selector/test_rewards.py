"""Every reward mode against its formula, written out beam by beam."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.data.dataset import Outcome
from selector.errors import DataError
from selector.rewards import compute_rewards, missing_fields, reward_range
from selector.settings import Correctness, RewardMode, RewardSettings

ALL = tuple(Outcome)

# hard, soft, gt, rel, weights h, s, r -> reward
TABLE = {
    "hard_plus_soft": lambda hard, soft, gt, rel, h, s, r: h * hard + s * soft,
    "hard_plus_soft_v2": lambda hard, soft, gt, rel, h, s, r: 2 * h * hard + s * soft,
    "separated": lambda hard, soft, gt, rel, h, s, r: 2 * h + s * soft if hard else s * soft,
    "hard_only": lambda hard, soft, gt, rel, h, s, r: h * hard,
    "soft_only": lambda hard, soft, gt, rel, h, s, r: s * soft,
    "hard01_plus_gtprob": lambda hard, soft, gt, rel, h, s, r: h * hard + s * gt,
    "hard01_plus_gtprob_separated": lambda hard, soft, gt, rel, h, s, r: 2 * h + s * gt if hard else s * gt,
    "hard_plus_gtprob_plus_rel": lambda hard, soft, gt, rel, h, s, r: h * hard + s * gt + r * (1 - hard) * rel,
}
NEEDS = {
    "hard_plus_soft": {"vqa_correct", "vqa_acc_score"},
    "hard_plus_soft_v2": {"vqa_correct", "vqa_acc_score"},
    "separated": {"vqa_correct", "vqa_acc_score"},
    "hard_only": {"vqa_correct"},
    "soft_only": {"vqa_acc_score"},
    "hard01_plus_gtprob": {"vqa_correct", "vqa_gt_prob"},
    "hard01_plus_gtprob_separated": {"vqa_correct", "vqa_gt_prob"},
    "hard_plus_gtprob_plus_rel": {"vqa_correct", "vqa_gt_prob", "vqa_rel_score"},
}


def columns(rows: list[tuple[float, ...]]) -> dict[Outcome, np.ndarray]:
    return {name: np.array([row[i] for row in rows], dtype=np.float32) for i, name in enumerate(ALL)}


BEAM = st.tuples(
    st.sampled_from([0.0, 1.0]),
    *[st.floats(0, 1, width=32)] * 3,
    st.floats(-3, 3, width=32),
    st.floats(-9, 0, width=32),
)
BEAMS = st.lists(BEAM, min_size=1, max_size=8)
WEIGHT = st.floats(-8, 8)


def test_the_table_covers_every_mode() -> None:
    assert {*TABLE, "legacy"} == {mode.value for mode in RewardMode}


@pytest.mark.parametrize("mode", TABLE)
@given(rows=BEAMS, h=WEIGHT, s=WEIGHT, r=WEIGHT)
def test_modes(mode: str, rows: list[tuple[float, ...]], h: float, s: float, r: float) -> None:
    settings = RewardSettings(mode=RewardMode(mode), hard_weight=h, soft_weight=s, rel_weight=r)
    found = compute_rewards(columns(rows), settings)
    expected = [min(max(TABLE[mode](*row[:4], h, s, r), -5.0), 5.0) for row in rows]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@given(rows=BEAMS, alpha=WEIGHT, beta=WEIGHT, signed=st.booleans(), has_score=st.booleans())
def test_legacy(rows: list[tuple[float, ...]], alpha: float, beta: float, signed: bool, has_score: bool) -> None:
    outcomes = columns(rows)
    if not has_score:
        del outcomes[Outcome.BEAM_SCORE]
    correctness = Correctness.PLUS_MINUS_ONE if signed else Correctness.ZERO_ONE
    found = compute_rewards(
        outcomes, RewardSettings(mode=RewardMode.LEGACY, alpha=alpha, beta=beta, correctness=correctness)
    )
    for value, (hard, _, _, _, score, logprob) in zip(found, rows, strict=True):
        quality = score if has_score else -logprob
        correct = (1 if hard else -1) if signed else hard
        assert math.isclose(value, min(max(alpha * quality + beta * correct, -5), 5), rel_tol=1e-6, abs_tol=1e-6)


def test_legacy_takes_the_beam_score_where_both_scores_exist() -> None:
    outcomes = columns([(0.0, 0.0, 0.0, 0.0, 2.0, -3.0)])
    settings = RewardSettings(mode=RewardMode.LEGACY, alpha=1.0, beta=0.0)
    assert compute_rewards(outcomes, settings).tolist() == [2.0]
    del outcomes[Outcome.BEAM_SCORE]
    assert compute_rewards(outcomes, settings).tolist() == [3.0]


def test_default_weights() -> None:
    rows = [(1.0, 0.9, 0.5, 0.25, 0.0, 0.0), (0.0, 0.3, 0.5, 0.25, 0.0, 0.0)]
    expected = {
        "hard_plus_soft": [1.9, 0.3], "hard_plus_soft_v2": [2.9, 0.3], "separated": [2.9, 0.3], "hard_only": [1, 0],
        "soft_only": [0.9, 0.3], "hard01_plus_gtprob": [1.5, 0.5], "hard01_plus_gtprob_separated": [2.5, 0.5],
        "hard_plus_gtprob_plus_rel": [1.5, 0.525],
    }  # fmt: skip
    for mode, values in expected.items():
        found = compute_rewards(columns(rows), RewardSettings(mode=RewardMode(mode)))
        np.testing.assert_allclose(found, values, rtol=1e-6)


@pytest.mark.parametrize("weight", [100.0, 1e300, -1e300])
def test_clipped_to_five_even_where_single_precision_would_overflow(weight: float) -> None:
    rows = [(1.0, 1.0, 0.0, 0.0, 1.0, -1.0), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    for mode in (RewardMode.HARD_PLUS_SOFT, RewardMode.HARD_ONLY, RewardMode.LEGACY):
        settings = RewardSettings(mode=mode, hard_weight=weight, soft_weight=weight, alpha=weight, beta=weight)
        assert compute_rewards(columns(rows), settings).tolist() == [math.copysign(5.0, weight), 0.0]


@pytest.mark.parametrize("mode", NEEDS)
def test_a_missing_column_is_named_with_its_mode(mode: str) -> None:
    settings = RewardSettings(mode=RewardMode(mode))
    full = columns([(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)])
    assert missing_fields(settings, set(full)) == []
    for absent in Outcome:
        outcomes = {name: values for name, values in full.items() if name is not absent}
        if absent.value in NEEDS[mode]:
            assert missing_fields(settings, set(outcomes)) == [absent.value]
            with pytest.raises(DataError, match=f"reward.mode {mode} needs {absent.value}, which .*it has: beam_score"):
                compute_rewards(outcomes, settings)
        else:
            assert len(compute_rewards(outcomes, settings)) == 1


@pytest.mark.parametrize(
    ("alpha", "beta", "present", "missing"),
    [
        (1, 1, {Outcome.BEAM_SCORE, Outcome.CORRECT}, []),
        (1, 1, {Outcome.LOGPROB_SCORE, Outcome.CORRECT}, []),
        (1, 1, {Outcome.CORRECT}, ["beam_score or logprob_score"]),
        (1, 1, {Outcome.BEAM_SCORE}, ["vqa_correct"]),
        (0, 1, {Outcome.CORRECT}, []),
        (1, 0, {Outcome.LOGPROB_SCORE}, []),
        (1, 1, set(), ["vqa_correct", "beam_score or logprob_score"]),
    ],
)
def test_legacy_needs_what_its_weights_use(
    alpha: float, beta: float, present: set[Outcome], missing: list[str]
) -> None:
    settings = RewardSettings(mode=RewardMode.LEGACY, alpha=alpha, beta=beta)
    assert missing_fields(settings, present) == missing
    outcomes = {name: np.ones(2, dtype=np.float32) for name in present}
    if missing:
        with pytest.raises(DataError, match=f"reward.mode legacy needs {', '.join(missing)}"):
            compute_rewards(outcomes, settings)
    else:
        assert len(compute_rewards(outcomes, settings)) == 2


def test_inputs_are_not_written_to() -> None:
    outcomes = columns([(1.0, 0.5, 0.5, 0.5, 2.0, -1.0)] * 3)
    for values in outcomes.values():
        values.setflags(write=False)
    for mode in RewardMode:
        compute_rewards(outcomes, RewardSettings(mode=mode))


@given(st.sampled_from(list(RewardMode)), st.tuples(*[st.floats(-8, 8)] * 5), st.integers(0, 2**31), st.booleans())
def test_the_range_holds_every_reward_and_is_reached(
    mode: RewardMode, weights: tuple[float, ...], seed: int, signed: bool
) -> None:
    names = ("hard_weight", "soft_weight", "rel_weight", "alpha", "beta")
    correctness = Correctness.PLUS_MINUS_ONE if signed else Correctness.ZERO_ONE
    settings = RewardSettings(mode=mode, correctness=correctness, **dict(zip(names, weights, strict=True)))
    low, high = reward_range(settings)
    assert -5 <= low <= high <= 5
    generator = np.random.default_rng(seed)
    columns = {Outcome.CORRECT: generator.integers(0, 2, 40)}
    columns |= {Outcome.ACC_SCORE: generator.random(40), Outcome.GT_PROB: generator.random(40)}
    columns |= {Outcome.REL_SCORE: generator.uniform(-1, 1, 40), Outcome.BEAM_SCORE: generator.normal(size=40)}
    rewards = compute_rewards({name: values.astype(np.float32) for name, values in columns.items()}, settings)
    assert (rewards >= low - 1e-5).all() and (rewards <= high + 1e-5).all()
    if mode is not RewardMode.LEGACY:
        ends = [
            {name: np.full(1, value, np.float32) for name, value in zip(columns, (h, a, g, r, 0), strict=True)}
            for h in (0, 1)
            for a in (0, 1)
            for g in (0, 1)
            for r in (-1, 1)
        ]
        reached = [float(compute_rewards(one, settings)[0]) for one in ends]
        assert (min(reached), max(reached)) == (low, high)


def test_the_range_of_the_default_reward() -> None:
    assert reward_range(RewardSettings()) == (0.0, 2.0)
    assert reward_range(RewardSettings(mode=RewardMode.LEGACY)) == (-5.0, 5.0)
