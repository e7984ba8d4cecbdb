"""Signals, sent to this process for real."""

from __future__ import annotations

import io
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweep.driver.signals import interruptible, terminable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_trials_to_stop_and_the_second_ends_at_once(number: int) -> None:
    coordinator: Any = SimpleNamespace(interrupted=False)
    console, before = Console(file=io.StringIO()), signal.getsignal(number)
    with interruptible(coordinator, console):
        os.kill(os.getpid(), number)
        assert coordinator.interrupted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert isinstance(console.file, io.StringIO) and "stopping after the running epochs" in console.file.getvalue()


def test_sigterm_ends_what_runs_outside_of_trials() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
