"""Rates, gradient clipping and weight decay."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from selector.optimizer import StageOptimizer, learning_rate
from selector.settings import OptimizerSettings, Schedule


def rates(steps: int, **options: Any) -> list[float]:
    settings = OptimizerSettings(lr=1.0, **options)
    return [learning_rate(settings, step, steps) for step in range(steps)]


def test_learning_rates() -> None:
    assert rates(4) == [1.0] * 4
    assert rates(8, warmup_fraction=0.5) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    cosine = rates(12, warmup_fraction=1 / 6, schedule=Schedule.COSINE)
    assert cosine[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert cosine[2:] == pytest.approx([(1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)])
    assert rates(3, warmup_fraction=1.0) == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates(1, schedule=Schedule.COSINE, warmup_fraction=0.2) == [1.0]


def test_gradient_clipping_reports_the_norm_before_and_bounds_the_step() -> None:
    for limit, expected in ((None, 5.0), (0.5, 0.5)):
        model = torch.nn.Linear(2, 1, bias=False)
        optimizer = StageOptimizer(model, OptimizerSettings(lr=0.0, grad_clip=limit), 1)
        norm = optimizer.step((model.weight * torch.tensor([[3.0, 4.0]])).sum())
        assert norm.item() == pytest.approx(5.0)
        assert model.weight.grad is not None
        assert model.weight.grad.norm().item() == pytest.approx(expected, rel=1e-4)


def test_only_matrices_decay() -> None:
    model = torch.nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = StageOptimizer(model, OptimizerSettings(lr=0.1, weight_decay=0.5), 1)
    optimizer.step(sum((p * 0.0).sum() for p in model.parameters()))
    torch.testing.assert_close(model.weight.detach(), before["weight"] * 0.95)
    assert torch.equal(model.bias.detach(), before["bias"])
