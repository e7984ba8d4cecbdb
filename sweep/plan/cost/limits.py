"""What a plan asks for and does not get: time, memory, room on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from sweep.plan.cost.records import Cost
from sweep.plan.machine import Machine
from sweep.space import SearchSpace
from sweep.storage.path import StoredPath

HOUR = 3600.0
GB = 1e9


def free_bytes(runs: StoredPath) -> int | None:
    """Free room where runs are kept. None where that is not this machine's disk."""
    if runs.is_remote:
        return None
    folder = Path(runs.place).absolute()
    return shutil.disk_usage(next(one for one in (folder, *folder.parents) if one.exists())).free


def lacks(cost: Cost, space: SearchSpace, machine: Machine, free: int | None) -> Iterator[str]:
    """One sentence for each budget that cannot be met, with what would mend it.

    Args:
        cost: of the plan.
        space: whose budgets count.
        machine: that runs it.
        free: bytes of the disk that holds the runs. None where it is not known.
    """
    yield from _time(cost, space)
    yield from _memory(cost, machine)
    wanted = sum(cost.disk.values())
    if free is not None and wanted > free:
        yield (
            f"disk: the run takes up to {wanted / GB:.1f} GB, and {free / GB:.1f} GB are free: lower keep_epochs, or "
            "set max_disk_gb"
        )


def _time(cost: Cost, space: SearchSpace) -> Iterator[str]:
    budget = None if space.collect is None else space.collect.budget
    collecting = next((phase for phase in cost.phases if phase.name == "collect"), None)
    if budget is not None and budget.hours is not None and collecting is not None and collecting.seconds is not None:
        needed = collecting.seconds / HOUR
        if needed > budget.hours:
            prompts = int(collecting.amounts["prompts"] * budget.hours / needed)
            yield (
                f"collect.budget: {collecting.amounts['prompts']:,.0f} prompts take up to {needed:.1f} hours here, and "
                f"hours ends them after {budget.hours:g}: expect about {prompts:,}; raise it, or ask fewer beams"
            )
    training = next(phase for phase in cost.phases if phase.name == "train")
    hours = space.budget.hours
    if training.seconds is None or hours is None or training.seconds <= hours * HOUR or not space.budget.trials:
        return
    trials = int(space.budget.trials * hours * HOUR / training.seconds)
    yield (
        f"budget: {space.budget.trials} trials take up to {training.seconds / HOUR:.1f} hours here, and budget.hours "
        f"ends them after {hours:g}: expect about {trials}; raise it, or lower budget.trials or the epochs"
    )


def _memory(cost: Cost, machine: Machine) -> Iterator[str]:
    asking = [phase.workers for phase in cost.phases if phase.name != "train"]
    if cost.worker is not None:
        on_gpu = cost.device == "cuda"
        there, place = (machine.gpu_memory, "the GPU") if on_gpu else (machine.memory, "the machine")
        wanted = cost.worker * (1 if on_gpu else max(asking))
        who = "a worker of the model" if on_gpu else f"{max(asking)} workers of the model"
        if there and wanted > there:
            yield (
                f"memory: {who} may take {wanted / GB:.1f} GB, and {place} has {there / GB:.1f} GB: lower "
                "vlm.batching.vision_cache_gb, decode_rows and prefill_tokens, or vlm.workers.count"
            )
    training = next(phase for phase in cost.phases if phase.name == "train")
    wanted = cost.trial * training.workers + cost.shared
    if machine.memory and wanted > machine.memory:
        yield (
            f"memory: {training.workers} trials at a time may take {wanted / GB:.1f} GB, and the machine has "
            f"{machine.memory / GB:.1f} GB: lower concurrency"
        )
