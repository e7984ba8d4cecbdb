"""One study on a surface: the real owner, coordinator and pruner, and a curve in place of each training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.search.surface import EPOCH_SECONDS, Surface
from sweep.execution.coordinator import Coordinator
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.simulated import VirtualClock, replay
from sweep.runs.paths import sqlite_url
from sweep.study import StudyOwner
from sweep.trials.messages import EpochResult

MEMORY = Path("/dev/shm")
"""A study that is thrown away need not wait for a disk."""

RANDOM: dict[str, Any] = {"type": "random"}
TPE: dict[str, Any] = {"type": "tpe", "n_startup_trials": 8}
GP: dict[str, Any] = {"type": "gp", "n_startup_trials": 8}
QMC: dict[str, Any] = {"type": "qmc"}
NONE: dict[str, Any] = {"type": "none"}
MEDIAN: dict[str, Any] = {"type": "median", "n_startup_trials": 4, "n_warmup_steps": 2}
ASHA: dict[str, Any] = {"type": "successive_halving", "min_resource": 2, "reduction_factor": 3}
HYPERBAND: dict[str, Any] = {"type": "hyperband", "min_resource": 2, "reduction_factor": 3}
ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tpe + median": (TPE, MEDIAN),
    "tpe + asha": (TPE, ASHA),
    "tpe + hyperband": (TPE, HYPERBAND),
    "tpe": (TPE, NONE),
    "gp + median": (GP, MEDIAN),
    "qmc + median": (QMC, MEDIAN),
    "random + asha": (RANDOM, ASHA),
    "random + median": (RANDOM, MEDIAN),
    "random": (RANDOM, NONE),
}
"""Sampler and pruner by name. TPE and ASHA (successive halving) are as in spaces/grpo.yaml, median as it was before."""


@dataclass(frozen=True)
class Found:
    """How a study went. Costs are in epochs of GRPO.

    Attributes:
        trials: that began within the budget.
        complete: cost and value of each complete trial that ended within it, in this order.
        pruned: trials that were pruned.
        best_was_pruned: whether the trial that would have become the best was.
        reachable: what that one would have reached.
    """

    trials: int
    complete: list[tuple[float, float]]
    pruned: int
    best_was_pruned: bool
    reachable: float

    def best(self, cost: float) -> float | None:
        """The lowest value of trials that were complete at a cost."""
        return min((value for ended, value in self.complete if ended <= cost), default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Found:
        """From `to_json`, also by way of text."""
        return cls(**{**values, "complete": [(float(ended), float(value)) for ended, value in values["complete"]]})


class _Follower:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.complete: list[tuple[float, float]] = []
        self.stopped: set[int] = set()

    def started(self, event: TrialStarted) -> None:
        """Nothing to do."""

    def epoch(self, result: EpochResult) -> None:
        """Nothing to do."""

    def ended(self, event: TrialEnded) -> None:
        """Note what it reached, and when."""
        if event.trial.is_complete and event.trial.value is not None:
            self.complete.append((self._clock.now / EPOCH_SECONDS, event.trial.value))
        else:
            self.stopped.add(event.number)


@contextmanager
def database() -> Iterator[str]:
    """The URL of one for studies that are thrown away."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield sqlite_url(Path(folder) / "study.db")


def search(surface: Surface, arm: str, seed: int, epochs: int, slots: int, url: str) -> Found:
    """Let an arm search a surface.

    Args:
        surface: what trials would report.
        arm: a name of ARMS.
        seed: of the sampler.
        epochs: of GRPO, of all trials together. The trials that run then end, and are not counted.
        slots: trials at a time.
        url: of a database that has no study of this arm and seed.
    """
    sampler, pruner = ARMS[arm]
    hours = epochs / slots
    space = surface.space.replace(sampler=sampler, pruner=pruner, seed=seed, budget={"hours": hours})
    clock = VirtualClock()
    owner = StudyOwner.open(url, f"{arm} {seed}", space, clock)
    follower = _Follower(clock)
    coordinator = Coordinator(owner, slots, [follower])
    replay(coordinator, lambda trial: surface.reports(trial.params), slots, clock, space.health)
    rows = owner.summaries()
    owner.close()
    if coordinator.error is not None:
        raise coordinator.error
    would_be = [surface.best(row.params) for row in rows]
    first = min(range(len(rows)), key=would_be.__getitem__)
    within = [(ended * slots, value) for ended, value in follower.complete if ended <= hours]
    return Found(len(rows), within, len(follower.stopped), first in follower.stopped, would_be[first])
