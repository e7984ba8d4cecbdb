"""A kill at each write: of a tiny run, every rename into place and every commit of the study is where a process dies,
once right before it and once right after.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.attempts import Course, Killed, Run
from tests.chaos.harness import judged
from tests.chaos.processes import Kind
from tests.chaos.report import Result
from tests.chaos.spaces import Mode, space, write_space

HOOK = Path(__file__).parent / "hook"


@dataclass(frozen=True)
class Writes:
    """An undisturbed tiny run, and what it wrote, in order."""

    run: Path
    what: list[str]


def count_writes(folder: Path) -> Writes:
    """The undisturbed run."""
    course = _run(folder, 0, "before")
    if not course.finished:
        raise RuntimeError(f"the undisturbed run failed: {course.failures}")
    return Writes(course.run, (folder / "writes").read_text().splitlines())


def killed_at_each(folder: Path, runs: int | None, seed: int) -> Iterator[Result]:
    """A result per write and side, in an order shuffled by the seed, so that a few runs already reach all parts.

    Args:
        folder: for all runs.
        runs: at most so many; None for all.
        seed: of the order.
    """
    writes = count_writes(folder / "undisturbed")
    points = [(number, when) for number in range(1, len(writes.what) + 1) for when in ("before", "after")]
    random.Random(seed).shuffle(points)
    for number, when in points[:runs]:
        own = folder / f"write-{number:03d}-{when}"
        course = _run(own, number, when)
        lines = (own / "writes").read_text().splitlines()
        reached = lines[number - 1] if number <= len(lines) else "not reached"
        budget = space(Mode.ONE, tiny=True)["budget"]["trials"]
        name = f"{when} write {number} of {len(writes.what)} ({reached})"
        yield judged(name, course, writes.run, budget)


def _run(folder: Path, number: int, when: str) -> Course:
    write_space(folder, space(Mode.ONE, tiny=True))
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH")))),
        "SWEEP_CHAOS_ROOT": str(folder / "runs"),
        "SWEEP_CHAOS_COUNTER": str(folder / "writes"),
        "SWEEP_CHAOS_AT": str(number),
        "SWEEP_CHAOS_WHEN": when,
    }
    course = Run(folder, [], environment=environment).drive()
    if 0 < number <= len((folder / "writes").read_text().splitlines()):
        course.killed.append(Killed(Kind.WRITER, attempt=1))
    return course
