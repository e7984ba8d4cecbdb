"""How long the remaining trials will take, from the epochs measured so far. Pure: times are passed in."""

from __future__ import annotations

from collections import deque
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

    def __init__(self) -> None:
        self._running: dict[int, _Running] = {}
        self._lengths: deque[float] = deque(maxlen=RECENT_EPOCHS)
        self._totals: list[int] = []
        self._ended_after: list[int] = []
        self._most_at_once = 0

    def started(self, number: int, total: int) -> None:
        """A trial begins, or begins again, that will have so many epochs if it is not stopped."""
        if number not in self._running:
            self._totals.append(total)
        self._running[number] = _Running(total)
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

    def seconds_left(self, to_come: int | None) -> float | None:
        """Until the last trial ends. None where too little is measured, or where nobody knows how many will come.

        A trial to come takes as many epochs as those that have ended took on average, so pruning counts.

        Args:
            to_come: trials that have not begun.
        """
        if to_come is None or len(self._lengths) < SURE_EPOCHS:
            return None
        length = sum(self._lengths) / len(self._lengths)
        ends = self._ended_after or self._totals
        rest = [trial.total - trial.step for trial in self._running.values()]
        epochs = sum(rest) + to_come * sum(ends) / len(ends)
        return length * max([epochs / max(self._most_at_once, 1), *rest])
