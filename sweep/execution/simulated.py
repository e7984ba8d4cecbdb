"""A back-end that trains nothing: it replays curves in virtual time, through everything else that a run has.

The study, the coordinator, pruners, budget, observers and files are the real ones. So a sweep of many trials on many
slots shows in minutes how samplers and pruners do, and what the driver itself costs.

Epochs arrive in the order of virtual time, those of one moment in the order in which they began. So a simulation gives
the same trials every time. Only the study's own dates are of the wall clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from selector.reports import EpochReport
from selector.settings import HealthSettings
from sweep.execution.coordinator import Coordinator, Next
from sweep.execution.events import TrialObserver
from sweep.execution.places import OnePlace, Places
from sweep.plan.plan import Plan
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace
from sweep.study import AskedTrial
from sweep.trials.history import TrialHistory
from sweep.trials.messages import TrialContext

Curves = Callable[[AskedTrial], Iterable[EpochReport]]
"""What a trial would report, epoch by epoch. `EpochReport.seconds` is how long the epoch takes in virtual time. It is
asked anew for a trial that an interrupted run left unfinished: that one begins again, and what the study knows already
is not stored twice."""


class VirtualClock:
    """Seconds since the epoch that only a simulation moves on. Give it to the study's owner, for the budget in hours.

    Attributes:
        now: the time.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class _Running:
    history: TrialHistory
    epochs: Iterator[EpochReport]
    slot: int


def replay(
    coordinator: Coordinator,
    curves: Curves,
    slots: int,
    clock: VirtualClock,
    health: HealthSettings | None = None,
    shots: int | None = None,
) -> None:
    """Run all trials that a coordinator hands out.

    Args:
        coordinator: of the run. It has the budget.
        curves: what each trial reports. One that ends before its settings say so has failed.
        slots: trials at a time.
        clock: moved on.
        health: thresholds of the verdicts, which may stop a trial. None: the defaults.
        shots: picks that agreement and verdicts are about.
    """
    free = list(range(slots))
    heapq.heapify(free)
    running: dict[int, _Running] = {}
    due: list[tuple[float, int, int, EpochReport]] = []  # end of an epoch, the order in which it began, trial
    begun = 0

    def begin_epoch(number: int) -> bool:
        nonlocal begun
        report = next(running[number].epochs, None)
        if report is None:
            return False
        begun += 1
        heapq.heappush(due, (clock.now + report.seconds, begun, number, report))
        return True

    def end_trial(number: int) -> None:
        coordinator.gone(number)
        heapq.heappush(free, running.pop(number).slot)

    while True:
        while free and not isinstance(asked := coordinator.next_trial(), Next):
            slot, number = heapq.heappop(free), asked.number
            history = TrialHistory(number, asked.settings, health or HealthSettings(), "", shots)
            running[number] = _Running(history, iter(curves(asked)), slot)
            coordinator.worker(number, f"simulated, slot {slot}")
            if not begin_epoch(number):
                end_trial(number)
        if not due:
            break
        clock.now, _, number, report = heapq.heappop(due)
        running[number].history.add(report)
        if not coordinator.epoch(running[number].history.result()) or not begin_epoch(number):
            end_trial(number)
    coordinator.ended()


class SimulatedBackend:
    """`replay` as a back-end.

    Attributes:
        clock: the virtual time, which begins at 0.
    """

    def __init__(self, curves: Curves, slots: int) -> None:
        self._curves = curves
        self._slots = slots
        self.clock = VirtualClock()

    def concurrency(self, space: SearchSpace) -> int:
        """As `Backend.concurrency`."""
        return min(space.concurrency or self._slots, self._slots)

    @property
    def places(self) -> Places:
        """One."""
        return OnePlace()

    def observers(self, run: str) -> Sequence[TrialObserver]:
        """None."""
        return ()

    def run(self, coordinator: Coordinator, plan: Plan, paths: RunPaths, context: TrialContext) -> None:
        """As `Backend.run`."""
        slots = self.concurrency(plan.space)
        replay(coordinator, self._curves, slots, self.clock, context.health, context.shots)
