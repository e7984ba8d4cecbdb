"""Ctrl-C, SIGTERM and a closed terminal, while trials run and while they do not.

A closed terminal sends SIGHUP. It ends a run as Ctrl-C does, and the log says so. Where SIGHUP is ignored already, as
`nohup` has it, it stays so.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from sweep.driver.pulse import Pulse
from sweep.execution.coordinator import Coordinator
from sweep.terminal.console import Screen

Handler = Callable[[int, FrameType | None], object]
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal was closed (SIGHUP)"}


class _Ending:
    """Ends what runs as Ctrl-C does. A handler of this class that is installed already stays."""

    def __init__(self, heard: Callable[[int], None]) -> None:
        self._heard = heard

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._heard(number)
        raise KeyboardInterrupt


@contextmanager
def terminable(heard: Callable[[int], None] = lambda number: None) -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that workers and files are left in order.

    Args:
        heard: told the signal's number first.
    """
    if isinstance(signal.getsignal(signal.SIGTERM), _Ending):  # what is around this block does it
        yield
        return
    with _handled(_Ending(heard), signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def interruptible(
    coordinator: Coordinator, console: Console, pulse: Pulse, heard: Callable[[int], None]
) -> Iterator[None]:
    """First Ctrl-C (or SIGTERM, SIGHUP): trials stop after their current epoch and can be resumed. Second: now."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        heard(number)
        if coordinator.interrupted or pulse.stop_now:
            raise KeyboardInterrupt
        coordinator.interrupted = True
        console.print("stopping after the running epochs (Ctrl-C again: at once) ...")

    # SIGTERM is what a container, a batch system or a shutdown sends before it kills.
    with _handled(on_signal, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        yield


@contextmanager
def _handled(handler: Handler, *numbers: int) -> Iterator[None]:
    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell and the kernel both send it: once is meant
        handler(number, frame)

    before = {}
    for number in numbers:
        if number != signal.SIGHUP:
            before[number] = signal.signal(number, handler)
        elif signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, once)
    try:
        yield
    finally:
        for number, old in before.items():
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, old)


@contextmanager
def starting_ray() -> Iterator[None]:
    """Ray's processes live on when the terminal is closed, until we end them. Our SIGTERM stays ours.

    As it is imported, ray puts a handler of its own in the place of ours.
    """
    ours = signal.getsignal(signal.SIGTERM)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which processes inherit that are started meanwhile
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, ours)


def note_of(pulse: Pulse, console: Console, go_on: str) -> Callable[[int], None]:
    """What to do first when a signal comes: remember why the run ends, and go on without a terminal that is gone."""

    def heard(number: int) -> None:
        pulse.why = pulse.why or NAMES[signal.Signals(number)]
        if number == signal.SIGHUP:
            if isinstance(console, Screen):
                console.to_log()
            console.print(
                f"the terminal was closed (SIGHUP), so this run ends; continue with: {go_on}  "
                "(--detach goes on without a terminal)",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    return heard
