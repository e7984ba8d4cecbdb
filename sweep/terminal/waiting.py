"""What is being waited for: a line as it begins, and another one every so often for as long as it goes on."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

REMIND_SECONDS = 10.0


class Waiting:
    """Use as a context manager around what takes long. `end` may come earlier, from any thread, more than once."""

    def __init__(
        self, say: Callable[[str], None], what: str, seconds: float = REMIND_SECONDS, *, at_once: bool = True
    ) -> None:
        """Prepare.

        Args:
            say: shows a line.
            what: reads like `starting Ray`.
            seconds: between two reminders.
            at_once: whether a line is shown as it begins. Without it, what ends soon is never mentioned.
        """
        self._at_once = at_once
        self._say = say
        self._what = what
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._remind, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        if self._at_once:
            self._say(f"{self._what} ...")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
        self._thread.join()

    def end(self) -> None:
        """It has come."""
        self._ended.set()

    def _remind(self) -> None:
        begun = time.monotonic()
        while not self._ended.wait(self._seconds):
            self._say(f"still {self._what}: {time.monotonic() - begun:.0f} s")


@contextmanager
def without_stdout() -> Iterator[TextIO]:
    """What is printed to stdout goes nowhere, be it Python or a child that prints. Yields the real one."""
    shown = sys.stdout
    shown.flush()
    real = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (no path)
        os.dup2(nowhere.fileno(), 1)
        sys.stdout = nowhere
        try:
            yield shown
        finally:
            sys.stdout = shown
            os.dup2(real, 1)
            os.close(real)
