"""Ctrl-C and SIGTERM, while trials run and while they do not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from sweep.execution.coordinator import Coordinator


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that workers and files are left in order."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interruptible(coordinator: Coordinator, console: Console) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM): trials stop after their current epoch and can be resumed. Second: now."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if coordinator.interrupted:
            raise KeyboardInterrupt
        coordinator.interrupted = True
        console.print("stopping after the running epochs (Ctrl-C again: at once) ...")

    # SIGTERM is what a container, a batch system or a shutdown sends before it kills.
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
