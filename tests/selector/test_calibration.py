"""The calibrated listwise loss: a minimum over one temperature, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selector.calibration import MeasuredGroups, calibrated_listwise
from selector.data.dataset import Split
from selector.losses import listwise_loss
from selector.validation import Evaluator
from tests.selector.worlds import evaluator, make_dataset, some_model

DATASET = make_dataset(queries=40)


def groups(seed: int, count: int = 7, beams: int = 6, spread: float = 2.0, skill: float = 0.5) -> MeasuredGroups:
    generator = torch.Generator().manual_seed(seed)
    mask_BN = torch.rand(count, beams, generator=generator) < 0.8
    mask_BN[:, :2] = True
    quality_BN = torch.randn(count, beams, generator=generator, dtype=torch.float64)
    noise_BN = torch.randn(count, beams, generator=generator, dtype=torch.float64)
    target_BN = (quality_BN * 2).masked_fill(~mask_BN, -math.inf).softmax(1)
    log_prob_BN = spread * (skill * quality_BN + (1 - abs(skill)) * noise_BN) - 5.0
    return MeasuredGroups(log_prob_BN.masked_fill(~mask_BN, 0.0), target_BN, mask_BN)


def plain(group: MeasuredGroups, scale: float = 1.0) -> float:
    return float(listwise_loss(group.log_prob_BN * scale, group.target_BN, group.mask_BN).mean())


@given(st.integers(0, 10_000), st.floats(0.1, 20), st.floats(-0.9, 0.95))
def test_it_is_the_lowest_loss_of_any_temperature(seed: int, spread: float, skill: float) -> None:
    group = groups(seed, spread=spread, skill=skill)
    found = calibrated_listwise([group])
    best = min(plain(group, scale) for scale in [0.0, *torch.logspace(-7, 2, 300).tolist()])
    assert best - 1e-2 <= found <= best + 1e-9


@given(st.integers(0, 10_000), st.floats(0.05, 50), st.floats(-30, 30))
def test_neither_sharpness_nor_a_constant_changes_it(seed: int, scale: float, shift: float) -> None:
    group = groups(seed)
    moved = MeasuredGroups(group.log_prob_BN * scale + shift, group.target_BN, group.mask_BN)
    assert calibrated_listwise([moved]) == pytest.approx(calibrated_listwise([group]), abs=1e-7)


@given(st.integers(0, 10_000))
def test_padding_and_batches_change_nothing(seed: int) -> None:
    group = groups(seed, count=6)
    wide = MeasuredGroups(
        torch.nn.functional.pad(group.log_prob_BN, (0, 3), value=7.0),
        torch.nn.functional.pad(group.target_BN, (0, 3)),
        torch.nn.functional.pad(group.mask_BN, (0, 3)),
    )
    parts = [
        MeasuredGroups(wide.log_prob_BN[rows], wide.target_BN[rows], wide.mask_BN[rows])
        for rows in (slice(0, 2), slice(2, 2), slice(2, 6))
    ]
    assert calibrated_listwise(parts) == pytest.approx(calibrated_listwise([group]), abs=1e-12)


def test_an_order_that_is_wrong_costs_as_much_as_no_order() -> None:
    group = groups(3, skill=-1.0)
    assert calibrated_listwise([group]) == pytest.approx(plain(group, 0.0), abs=1e-9)


def test_a_better_order_costs_less() -> None:
    losses = [calibrated_listwise([groups(1, count=200, skill=skill)]) for skill in (0.0, 0.3, 0.6, 0.9)]
    assert losses == sorted(losses, reverse=True)


def test_without_groups_or_with_nan_it_is_nan() -> None:
    group = groups(0)
    assert math.isnan(calibrated_listwise([]))
    bad = MeasuredGroups(group.log_prob_BN * float("nan"), group.target_BN, group.mask_BN)
    assert math.isnan(calibrated_listwise([group, bad]))


def test_the_evaluator_reports_it() -> None:
    model = some_model(DATASET)
    plain_loss = evaluator(DATASET)(model).loss
    for batch_size in (3, 64):
        found: Evaluator = evaluator(DATASET, metric="listwise_calibrated", batch_size=batch_size)
        result = found(model)
        assert 0 < result.loss <= plain_loss + 1e-6
        assert result.reward == pytest.approx(evaluator(DATASET)(model).reward)
    assert len(DATASET.indices(Split.VAL)) > 3
