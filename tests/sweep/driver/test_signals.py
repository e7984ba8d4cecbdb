"""Signals, sent to this process for real."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweep.driver.pulse import Pulse
from sweep.driver.signals import interruptible, note_of, starting_ray, terminable
from sweep.runs.paths import RunPaths

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ALL}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def pulse(tmp_path: Path) -> Pulse:
    return Pulse(RunPaths.at(tmp_path))


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("number", ALL)
def test_the_first_signal_asks_trials_to_stop_and_the_second_ends_at_once(
    number: int, console: Console, pulse: Pulse
) -> None:
    coordinator: Any = SimpleNamespace(interrupted=False)
    before = signal.getsignal(number)
    with interruptible(coordinator, console, pulse, note_of(pulse, console, "resume mine")):
        os.kill(os.getpid(), number)
        assert coordinator.interrupted
        if number == signal.SIGHUP:
            os.kill(os.getpid(), number)  # the kernel and the shell both send it
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    if number != signal.SIGHUP:
        assert signal.getsignal(number) is before
    assert shown(console).count("stopping after the running epochs") == 1
    assert {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}.get(number, "(SIGHUP)") in pulse.why  # type: ignore[call-overload]


def test_at_once_is_the_first_signal_already(console: Console, pulse: Pulse) -> None:
    coordinator: Any = SimpleNamespace(interrupted=False)
    pulse.stop_now = True
    with interruptible(coordinator, console, pulse, lambda number: None), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_runs_outside_of_trials_ends_too(number: int) -> None:
    heard: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable(heard.append), terminable():
        os.kill(os.getpid(), number)
    assert heard == [number], "the inner block leaves it to the outer one"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_closed_terminal_is_told_with_the_way_on(console: Console, pulse: Pulse) -> None:
    with pytest.raises(KeyboardInterrupt), terminable(note_of(pulse, console, "python -m sweep resume runs/[x]")):
        os.kill(os.getpid(), signal.SIGHUP)
    assert "SIGHUP" in pulse.why
    assert "continue with: python -m sweep resume runs/[x]  (--detach goes on without a terminal)" in shown(console)


@pytest.mark.parametrize("block", [starting_ray, terminable])
def test_nohup_stays_as_it_is(block: Callable[[], Any]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with block():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_handler_that_ray_brings_does_not_stay() -> None:
    heard: list[int] = []
    with pytest.raises(KeyboardInterrupt), terminable(heard.append):
        with starting_ray():
            signal.signal(signal.SIGTERM, lambda number, frame: None)
            os.kill(os.getpid(), signal.SIGHUP)
        assert not heard, "a terminal that is closed at this moment ends neither"
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]
