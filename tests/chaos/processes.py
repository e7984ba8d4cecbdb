"""The processes of one run, told from all others on the machine by a mark in their environment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MARK = "SWEEP_CHAOS_MARK"
PROC = Path("/proc")


class Kind(StrEnum):
    """What can be killed."""

    DRIVER = "driver"
    TRIAL = "trial worker"
    FINALIST = "finalist worker"
    POOL = "pool actor"
    RAYLET = "raylet"
    WRITER = "process at a write"


TITLES = {"ray::SweepTrial": Kind.TRIAL, "ray::Finalist": Kind.FINALIST, "ray::VlmWorker": Kind.POOL}


@dataclass(frozen=True)
class Process:
    """A process of a run. `born` (clock ticks since boot) tells it from a later one of the same number."""

    pid: int
    born: int
    title: str

    @property
    def kind(self) -> Kind | None:
        """What it is, if it is one of those that are killed; a driver is known by its number instead."""
        if "/raylet/raylet " in self.title:
            return Kind.RAYLET
        return next((kind for title, kind in TITLES.items() if self.title.startswith(title)), None)


def processes_of(mark: str) -> list[Process]:
    """Every living process that was started with this mark, or by one that was."""
    return list(_marked(f"{MARK}={mark}".encode()))


def _marked(wanted: bytes) -> Iterator[Process]:
    for folder in PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError, IndexError, ValueError):  # it ended while we looked, or is not ours to look at
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                yield Process(int(folder.name), int(fields[19]), title)


def kill(process: Process, mark: str) -> bool:
    """SIGKILL, if the process is still the one that was seen. Returns whether it was sent."""
    if not any((one.pid, one.born) == (process.pid, process.born) for one in processes_of(mark)):
        return False
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
        return True
    return False


def end_all(mark: str, seconds: float = 20) -> None:
    """Kill whatever is left of a run."""
    deadline = time.monotonic() + seconds
    while found := processes_of(mark):
        for process in found:
            kill(process, mark)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes survive SIGKILL: {found}")
        time.sleep(0.1)
