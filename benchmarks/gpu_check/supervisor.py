"""Runs the groups of steps one after another, each in a process of its own, each step within its time.

Invariants: every step has exactly one line in the end, written by the step itself or, where it never came to that, by
this module. No process is left behind, also when this one is told to stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.record import append, read

POLL = 0.1  # seconds
START = 60.0  # seconds that a process may take to import what it needs and to reach the card

Say = Callable[[str], None]


@dataclass(frozen=True)
class Group:
    """Steps that share a process. `seconds`: per step, the most it may take."""

    module: str
    seconds: Mapping[str, float]


def supervise(
    groups: Sequence[Group], command: Callable[[Group, Sequence[str]], list[str]], file: Path, budget: float, say: Say
) -> int:
    """Do all steps; how many have failed.

    Args:
        groups: in order.
        command: that runs some steps of a group and appends a line for each.
        file: of the lines; its header is there already.
        budget: seconds for everything. What has no time left is not begun.
        say: tells a person how it goes.
    """
    end = time.monotonic() + budget
    failed = 0
    for group in groups:
        waiting = list(group.seconds)
        while waiting:
            if time.monotonic() >= end:
                for name in waiting:
                    append(file, {"step": name, "error": "not begun: no time was left"})
                failed += len(waiting)
                break
            failed += _attempt(group, waiting, command(group, waiting), file, end, say)
    return failed


def _attempt(group: Group, waiting: list[str], command: list[str], file: Path, end: float, say: Say) -> int:
    """One process. Takes the steps that are over, one way or the other, out of `waiting`; how many of them failed."""
    seen, failed = len(read(file)), 0
    process = subprocess.Popen(command, start_new_session=True)
    try:
        until = min(end, time.monotonic() + START + group.seconds[waiting[0]])
        while waiting:
            time.sleep(POLL)
            over = process.poll() is not None  # asked first: what it wrote before it ended is read below
            for line in read(file)[seen:]:
                seen += 1
                waiting.remove(line["step"])
                failed += "error" in line
                say(_sentence(line))
                if waiting:
                    until = min(end, time.monotonic() + group.seconds[waiting[0]])
            late = time.monotonic() >= until
            if waiting and (late or (over and not failed)):
                reason = "took too long" if late else f"its process ended with code {process.returncode}"
                line = {"step": waiting.pop(0), "error": reason}
                append(file, line)
                say(_sentence(line))
                return failed + 1
            if over:
                return failed
    finally:
        _end(process)
    return failed


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def broken(line: Mapping[str, Any]) -> bool:
    """Whether a step was done and found what should not be."""
    return line.get("result", {}).get("holds") is False


def _sentence(line: Mapping[str, Any]) -> str:
    problem = f"FAILED: {line['error']}" if "error" in line else "done"
    if broken(line):
        problem = "done, but WHAT WAS WANTED DOES NOT HOLD"
    took = f" in {line['seconds']} s" if "seconds" in line else ""
    return f"{line['step']}: {problem}{took}"
