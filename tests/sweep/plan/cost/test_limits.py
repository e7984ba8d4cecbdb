"""Budgets that cannot be met are said before anything starts."""

from __future__ import annotations

from dataclasses import replace

from sweep.plan.cost.limits import lacks
from sweep.plan.cost.records import Cost, Phase, SampleSize
from sweep.plan.machine import Machine
from sweep.space import SearchSpace

LARGE = Machine(cpus=8, gpus=1, cards=1, memory=64 * 10**9, gpu_memory=80 * 10**9)


def cost(seconds: float | None = None, worker: float = 1e9, device: str = "cpu") -> Cost:
    train = Phase("train", {}, 1e9, at_most=True, workers=4, seconds=seconds)
    ask = Phase("evaluate", {}, 1e9, at_most=True, workers=8)
    size = SampleSize(0.2, False, {1: 15_000}, 800, 4.0)
    return Cost((train, ask), worker, device, 4e8, 1e6, {"answers": 2e9, "trials": 3e9}, size, None)


def space(**budget: float) -> SearchSpace:
    return SearchSpace.model_validate({"name": "x", "budget": {"trials": 60, **budget}})


def test_enough_of_everything() -> None:
    assert list(lacks(cost(seconds=3600), space(hours=1), LARGE, free=6 * 10**9)) == []
    assert list(lacks(cost(), space(hours=1), LARGE, free=None)) == []


def test_hours_that_do_not_suffice_name_the_trials_that_do() -> None:
    (line,) = lacks(cost(seconds=4 * 3600), space(hours=1), LARGE, free=None)
    assert line.startswith(
        "budget: 60 trials take up to 4.0 hours here, and budget.hours ends them after 1: expect about 15"
    )


def test_hours_of_a_collection_that_do_not_suffice_name_the_prompts_that_do() -> None:
    collect = Phase("collect", {"prompts": 34_000}, 1e9, at_most=False, workers=1, seconds=2 * 3600)
    known = cost(seconds=60)
    asked = replace(known, phases=(collect, *known.phases))
    sections = {"items": {"demo": {}}, "vlm": {"model": {"path": "demo"}}, "collect": {"budget": {"hours": 0.5}}}
    (line,) = lacks(asked, SearchSpace.model_validate({"name": "x", **sections}), LARGE, free=None)
    assert line.startswith("collect.budget: 34,000 prompts take up to 2.0 hours here, and hours ends them after 0.5")
    assert "about 8,500;" in line


def test_memory_of_all_workers_or_of_the_card() -> None:
    (line,) = lacks(cost(worker=9e9), space(), LARGE, free=None)
    assert line.startswith("memory: 8 workers of the model may take 72.0 GB, and the machine has 64.0 GB")
    (line,) = lacks(cost(worker=90e9, device="cuda"), space(), LARGE, free=None)
    assert line.startswith("memory: a worker of the model may take 90.0 GB, and the GPU has 80.0 GB")
    small = Machine(cpus=8, gpus=0, cards=0, memory=10**9)
    assert any(
        "4 trials at a time may take 1.6 GB" in line for line in lacks(cost(worker=1), space(), small, free=None)
    )


def test_room_on_the_disk() -> None:
    (line,) = lacks(cost(), space(), LARGE, free=10**9)
    assert line.startswith("disk: the run takes up to 5.0 GB, and 1.0 GB are free")
