"""How long the remaining trials will take, from the epochs measured so far. Pure: times are passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

SURE_EPOCHS = 3
RECENT_EPOCHS = 100


@dataclass
class _Running:
    total: int
    step: int = 0
    seen: float | None = None


class Pace:
    """Follows the trials of a run. All times are in seconds of one clock."""

    def __init__(self, ended_after: Iterable[int] = ()) -> None:
        """`ended_after`: epochs of each trial that ended under an earlier driver."""
        self._running: dict[int, _Running] = {}
        self._lengths: deque[float] = deque(maxlen=RECENT_EPOCHS)
        self._totals: list[int] = []
        self._ended_after = list(ended_after)
        self._most_at_once = 0

    def started(self, number: int, total: int) -> None:
        """A trial begins, or begins again, that will have so many epochs if it is not stopped."""
        before = self._running.get(number)
        if before is None:
            self._totals.append(total)
        self._running[number] = _Running(total, before.step if before is not None else 0)
        self._most_at_once = max(self._most_at_once, len(self._running))

    def epoch(self, number: int, step: int, seconds: float, now: float) -> None:
        """An epoch is done. `seconds` is what the worker measured; from the second one on, the clock counts."""
        trial = self._running.get(number)
        if trial is None:
            return
        self._lengths.append(seconds if trial.seen is None else now - trial.seen)
        trial.step, trial.seen = step, now

    def ended(self, number: int) -> None:
        """A trial is over, after all of its epochs or earlier."""
        trial = self._running.pop(number, None)
        if trial is not None:
            self._ended_after.append(trial.step)

    def total(self, number: int) -> int:
        """Epochs of a running trial, over both stages."""
        return self._running[number].total

    @property
    def epochs_done(self) -> int:
        """Of all trials together, those of earlier drivers included."""
        return sum(self._ended_after) + sum(trial.step for trial in self._running.values())

    def epochs_left(self, to_come: int | None) -> float | None:
        """Of the running trials and those that have not begun. None where nobody knows how many will come.

        A trial to come takes as many epochs as those that have ended took on average, so pruning counts.

        Args:
            to_come: trials that have not begun.
        """
        ends = self._ended_after or self._totals
        if to_come is None or not ends:
            return None
        return sum(trial.total - trial.step for trial in self._running.values()) + to_come * sum(ends) / len(ends)

    def seconds_left(self, to_come: int | None) -> float | None:
        """Until the last trial ends. None where too little is measured, or where nobody knows how many will come.

        Args:
            to_come: trials that have not begun.
        """
        epochs = self.epochs_left(to_come)
        if epochs is None or len(self._lengths) < SURE_EPOCHS:
            return None
        length = sum(self._lengths) / len(self._lengths)
        rest = [trial.total - trial.step for trial in self._running.values()]
        return length * max([epochs / max(self._most_at_once, 1), *rest])
