"""A budget of hours: time of asking, over all processes that worked on one collection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from pydantic import ValidationError

from selector.errors import DataError
from selector.settings import FrozenModel, NonNegativeFloat, NonNegativeInt
from sweep.storage.path import StoredPath

Clock = Callable[[], float]


class _Spent(FrozenModel):
    """What the file holds. `prompts`: asked within these seconds. `is_over`: no more are asked."""

    seconds: NonNegativeFloat = 0.0
    prompts: NonNegativeInt = 0
    is_over: bool = False


class HoursSpent:
    """Says after each block of prompts whether the hours are spent.

    A process that goes on counts from where the last one stored. Blocks that were asked before cost nothing. Once the
    hours are spent, the collection ends at the same prompt in every process.
    """

    def __init__(self, file: StoredPath, hours: float, clock: Clock = time.monotonic) -> None:
        """Begin to count.

        Args:
            file: where the time is kept. Made when it is missing.
            hours: the budget.
            clock: in seconds.

        Raises:
            DataError: the file is damaged.
        """
        self._file, self._limit, self._clock = file, hours * 3600, clock
        try:
            self._before = _Spent.model_validate(json.loads(file.read_bytes())) if file.exists() else _Spent()
        except (ValueError, ValidationError):
            raise DataError(f"{file}: damaged; delete it: the hours are counted from 0 again") from None
        self._began = clock()

    def __call__(self, prompts: int) -> bool:
        """Whether no more than these prompts are asked."""
        if prompts <= self._before.prompts:
            self._began = self._clock()
            return self._before.is_over and prompts == self._before.prompts
        seconds = self._before.seconds + self._clock() - self._began
        spent = _Spent(seconds=seconds, prompts=prompts, is_over=seconds >= self._limit)
        self._file.write_json(spent.model_dump())
        return spent.is_over

    def forget(self) -> None:
        """When the data is stored."""
        if self._file.exists():
            self._file.remove()
