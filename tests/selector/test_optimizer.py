"""Rates, gradient clipping and weight decay."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
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


def test_updates_equal_those_of_torchs_class_to_the_bit() -> None:
    def moved(model: torch.nn.Module, update: Callable[[torch.Tensor], object]) -> list[torch.Tensor]:
        inputs = torch.linspace(-1, 1, 24).reshape(6, 4)
        for step in range(7):
            update(((model(inputs) - step) ** 2).mean())
        return [parameter.detach().clone() for parameter in model.parameters()]

    settings = OptimizerSettings(lr=0.03, weight_decay=0.1, grad_clip=None)
    ours, theirs = (torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    groups = [
        {"params": [p for p in theirs.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    adamw, optimizer = torch.optim.AdamW(groups, lr=0.03, fused=True), StageOptimizer(ours, settings, 7)

    def update(loss: torch.Tensor) -> None:
        adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adamw.step()

    for mine, its in zip(moved(ours, optimizer.step), moved(theirs, update), strict=True):
        assert torch.equal(mine, its)
    names = {parameter: name for name, parameter in theirs.named_parameters()}
    stored = {f"{key}/{names[p]}": value for p, state in adamw.state.items() for key, value in state.items()}
    state = optimizer.state()
    assert state.pop("updates").item() == 7 and state.keys() == stored.keys()
    assert all(torch.equal(value, stored[key]) for key, value in state.items())


def test_training_does_not_load_the_compiler() -> None:
    """Which would take every process that trains more than a second, and 68 MB."""
    code = """
import sys
from selector.training import train
from tests.selector.worlds import make_dataset, make_settings
next(iter(train(make_settings(), make_dataset())))
sys.exit("torch._dynamo" in sys.modules)
"""
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
