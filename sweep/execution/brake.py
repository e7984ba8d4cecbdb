"""Failures in a row that speak against the place where they happened, and not against the trials.

A place is where workers run, such as a node of a cluster. Invariant: of a trial that is held here, the study has not
heard that it failed. So it can be handed out again.
"""

from __future__ import annotations

from dataclasses import dataclass

from sweep.study import AskedTrial

IN_A_ROW = 3
"""Failures with one cause, without any epoch at that place in between, until no trial is sent there any more."""


@dataclass(frozen=True)
class Held:
    """A trial that failed before its first epoch. Whether the trial or the place is at fault is not known yet."""

    trial: AskedTrial
    reason: str


class Brake:
    """Counts failures in a row by place."""

    def __init__(self) -> None:
        self._causes: dict[str, str] = {}
        self._rows: dict[str, list[Held | None]] = {}

    def add(self, place: str, cause: str, held: Held | None = None) -> list[Held]:
        """Take a failure, with its trial where one had begun.

        Returns:
            Trials that were held there for another cause. They are free now, and their failures are their own.
        """
        free = self.release(place) if self._causes.get(place) != cause else []
        self._causes[place] = cause
        self._rows.setdefault(place, []).append(held)
        return free

    def trips(self, place: str) -> bool:
        """Whether no trial should be sent there any more."""
        return len(self._rows.get(place, [])) >= IN_A_ROW

    def release(self, place: str) -> list[Held]:
        """Begin a new row at a place. Gives the trials that were held there, oldest first."""
        self._causes.pop(place, None)
        return [held for held in self._rows.pop(place, []) if held is not None]

    def release_all(self) -> list[Held]:
        """The same for all places."""
        return [held for place in list(self._rows) for held in self.release(place)]
