"""Sees that a Ray in use lives. Where Ray's own processes die under a driver, Ray ends the driver without a word.

Invariants:
- The exception is raised in the main thread, once, and never after the guard was closed.
- Some calls of Ray never come back then, `ray.shutdown` among them, and some end the process. So the driver has
  `SECONDS_TO_END` to end in order. After that the guard ends it, with the same message and exit code.
- The raylet ends with any of its agents, and Ray's library then ends the driver within 0.2 seconds, with exit code 1
  and no word. There is no time for an exception: the guard itself says the last words and ends the driver first.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

LOOK_SECONDS = 0.5
SECONDS_TO_END = 15.0
EXIT_CODE = 2
SIGNAL = signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2  # one that nobody sends
GONE = (ConnectionRefusedError, ConnectionResetError)
GONE_TEXT = "Ray is gone: {} has died"


class RayLost(BaseException):
    """Ray is gone. As with KeyboardInterrupt, nobody on the way takes it for a failure of his own."""


@dataclass(frozen=True)
class Part:
    """A process that Ray cannot do without.

    Attributes:
        name: for people.
        address: host and port at which it listens.
        patience: seconds that it may be away, in which it may come back.
    """

    name: str
    address: tuple[str, int]
    patience: float


def listens(part: Part) -> bool:
    """Whether somebody still listens there. A process that is slow, or stopped, does."""
    try:
        socket.create_connection(part.address, LOOK_SECONDS).close()
    except GONE:
        return False
    except OSError:  # too slow an answer is no death
        return True
    return True


def agents_of(driver: int) -> dict[int, str]:
    """The agents of the raylet that a process started, by number. None where the system has no /proc."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    found = {}
    for number, parent in parents.items():
        command = _command(number)
        if command.startswith("ray::") and "Agent" in command and parents.get(parent) == driver:
            found[number] = f"its {command.removeprefix('ray::').strip()}"
    return found


def _command(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Guard:
    """Use as a context manager, in the main thread; elsewhere, only `lost` works.

    Args:
        parts: what must live.
        agents: processes with which Ray ends the driver at once, by number, with their names.
        last_words: called before the guard itself ends the process, with the message.
        listens: tells whether a part lives.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        agents: Mapping[int, str] | None = None,
        last_words: Callable[[str], None] = lambda text: None,
        listens: Callable[[Part], bool] = listens,
    ) -> None:
        self._parts = parts
        self._agents = agents or {}
        self._last_words = last_words
        self._listens = listens
        self._lost: str | None = None
        self._closed = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="guard of Ray", daemon=True)
        self._before: object = None

    def lost(self) -> str | None:
        """Which part is gone, looked up now. None: all are there."""
        gone = [part.name for part in self._parts if not self._listens(part)]
        return GONE_TEXT.format(gone[0]) if gone else None

    def over(self) -> None:
        """Ray has been left behind, and whatever comes now cannot hang because of it."""
        self._over.set()

    def __enter__(self) -> Self:
        if self._parts and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(SIGNAL, self._raise)
            self._thread.start()
            if self._agents and hasattr(os, "pidfd_open"):
                threading.Thread(target=self._watch_agents, name="guard of Ray's agents", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._thread.is_alive() and self._lost is None:
            self._thread.join()
        if self._before is not None:
            signal.signal(SIGNAL, self._before)  # type: ignore[arg-type]

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._lost is not None and not self._closed.is_set():
            self._closed.set()
            raise RayLost(self._lost)

    def _watch(self) -> None:
        seen = {part.name: time.monotonic() for part in self._parts}
        while not self._closed.wait(LOOK_SECONDS):
            for part in self._parts:
                now = time.monotonic()
                if self._listens(part):
                    seen[part.name] = now
                elif now - seen[part.name] > part.patience:
                    self._lost = GONE_TEXT.format(part.name)
                    signal.pthread_kill(threading.main_thread().ident or 0, SIGNAL)
                    self._end_in_time(self._lost)
                    return

    def _watch_agents(self) -> None:
        """Wait in the kernel: it wakes this thread as an agent ends, before the raylet has seen it."""
        with ExitStack() as stack:
            ended = select.poll()
            names = {}
            for number, name in self._agents.items():
                try:
                    descriptor = os.pidfd_open(number)
                except ProcessLookupError:  # it ends this moment; the raylet's end tells
                    continue
                stack.callback(os.close, descriptor)
                ended.register(descriptor, select.POLLIN)
                names[descriptor] = name
            while not self._closed.is_set():
                for descriptor, _ in ended.poll(LOOK_SECONDS * 1000):
                    if self.lost():  # the agent went with what is gone, for which there is time to end in order
                        return
                    if not self._closed.is_set():
                        self._last_words(GONE_TEXT.format(names[descriptor]))
                        os._exit(EXIT_CODE)

    def _end_in_time(self, lost: str) -> None:
        if not self._over.wait(SECONDS_TO_END):
            self._last_words(lost)
            os._exit(EXIT_CODE)
