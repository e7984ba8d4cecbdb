"""Properties of group-relative advantages, on ragged groups with garbage at the padding."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selector.advantages import group_advantages, group_mean_std, keep_top_k, zero_variance
from selector.settings import AdvantageMode
from tests.selector.worlds import pad

FLOOR, WIDE = 1e-4, 1e9
REWARD = st.integers(-40, 40).map(lambda n: n / 8)  # ties are frequent, differences are far above the tolerance
GROUPS = st.lists(st.lists(REWARD, min_size=1, max_size=7), min_size=1, max_size=4)
MODES = list(AdvantageMode)


def advantages(
    groups: list[list[float]], mode: AdvantageMode, floor: float = FLOOR, clip: float = WIDE, filler: float = 77.0
) -> list[list[float]]:
    reward_BN, mask_BN = pad(groups, filler, extra=1)
    values = group_advantages(reward_BN, mask_BN, mode, floor, clip)
    assert (values[~mask_BN] == 0).all()
    return [row[: len(group)] for row, group in zip(values.tolist(), groups, strict=True)]


def close(one: list[list[float]], other: list[list[float]], tolerance: float = 1e-9) -> bool:
    return all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
        for row_a, row_b in zip(one, other, strict=True)
        for a, b in zip(row_a, row_b, strict=True)
    )


def slow(group: list[float], mode: AdvantageMode, floor: float, clip: float) -> list[float]:
    """One group with the standard library."""
    if max(group) - min(group) <= 1e-6:
        return [0.0] * len(group)
    mean = statistics.fmean(group)
    if mode is AdvantageMode.RANK:
        ordered = sorted(group)
        middle = {value: (ordered.index(value) + len(group) - 1 - ordered[::-1].index(value)) / 2 for value in group}
        values = [2 * middle[value] / (len(group) - 1) - 1 for value in group]
    else:
        scale = max(statistics.pstdev(group), floor) if mode is AdvantageMode.ZSCORE else 1.0
        values = [(value - mean) / scale for value in group]
    return [min(max(value, -clip), clip) for value in values]


@given(
    groups=GROUPS, mode=st.sampled_from(MODES), floor=st.sampled_from([1e-4, 0.5, 10]), clip=st.sampled_from([0.7, 5])
)
def test_equals_a_slow_computation(groups: list[list[float]], mode: AdvantageMode, floor: float, clip: float) -> None:
    """And so has mean zero before the clip, and does not depend on a shift of the rewards or on their order."""
    assert close(advantages(groups, mode, floor, clip), [slow(group, mode, floor, clip) for group in groups])


@pytest.mark.parametrize("filler", [0.0, -1e6, math.inf, math.nan])
@pytest.mark.parametrize("mode", MODES)
def test_padding_is_ignored_and_groups_do_not_mix(mode: AdvantageMode, filler: float) -> None:
    groups = [[1.0, 0.0, 0.3], [2.0], [0.0, 0.0, 0.0, 0.0, 5.0], [0.5, 0.5]]
    together = advantages(groups, mode, filler=filler)
    assert close(together, [advantages([group], mode)[0] for group in groups], 1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1.9, -5.0])
def test_constant_groups_are_exactly_zero(mode: AdvantageMode, value: float) -> None:
    reward = torch.full((1, 7), value)  # the mean of seven float32 0.1 is not float32 0.1
    assert (group_advantages(reward, torch.ones(1, 7, dtype=torch.bool), mode, 1e-9, WIDE) == 0).all()
    assert advantages([[value]], mode) == [[0.0]]


def test_the_floor_bounds_the_amplification_of_tiny_differences() -> None:
    tiny = [[0.0, 1e-5]]
    assert close(advantages(tiny, AdvantageMode.ZSCORE, floor=1e-4), [[-0.05, 0.05]])
    assert close(advantages(tiny, AdvantageMode.ZSCORE, floor=1e-9), [[-1.0, 1.0]])


def test_zero_variance_is_judged_over_valid_beams_within_a_tolerance() -> None:
    reward_BN, mask_BN = pad(
        [[1.0, 1.0], [1.0, 1.0 + 9e-7], [1.0, 1.0 + 2e-6], [3.0], [0.0, 1.0]], filler=-9.0, extra=2
    )
    assert zero_variance(reward_BN, mask_BN).tolist() == [True, True, False, True, False]


def test_mean_and_population_deviation() -> None:
    mean_B1, std_B1 = group_mean_std(*pad([[1.0, 2.0, 6.0], [4.0]], filler=math.nan))
    assert mean_B1.tolist() == [[3.0], [4.0]]
    assert math.isclose(std_B1[0, 0].item(), statistics.pstdev([1, 2, 6]))
    assert std_B1[1, 0] == 0


class TestTopK:
    @given(groups=GROUPS, k=st.integers(1, 8))
    def test_keeps_the_best_and_of_ties_the_earlier(self, groups: list[list[float]], k: int) -> None:
        reward_BN, mask_BN = pad(groups, filler=99.0, extra=1)
        kept = keep_top_k(reward_BN, mask_BN, k)
        for row, group in zip(kept.tolist(), groups, strict=True):
            best = sorted(range(len(group)), key=lambda i: (-group[i], i))[:k]
            assert [i for i, keep in enumerate(row) if keep] == sorted(best)

    def test_truncation_removes_the_contrast(self) -> None:
        """The best k of a group with k equal best beams have no advantage left."""
        reward_BN, mask_BN = pad([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]], filler=0)
        kept = keep_top_k(reward_BN, mask_BN, 3)
        assert group_advantages(reward_BN, mask_BN, AdvantageMode.ZSCORE, FLOOR, WIDE).abs().max() == 1
        assert (group_advantages(reward_BN, kept, AdvantageMode.ZSCORE, FLOOR, WIDE) == 0).all()
