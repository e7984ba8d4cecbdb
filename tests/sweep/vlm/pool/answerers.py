"""Answerers for tests: at stub speed, with ways to fail. Every call is noted in a file that all processes share."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep.vlm.work import Answer, Result, WorkItem


@dataclass(frozen=True)
class Table:
    """What the numbers are about."""

    name: str = "table"


@dataclass
class Noting:
    """Answers `item` as text, after `seconds` per item.

    Attributes:
        notes: one line `pid query-demonstration-...` per item at the beginning of a call, `pid loaded` when built.
        deadly, raising, hanging: queries that end the process, raise, or never end, every time.
        length: of the answers' text, at least.
        gather: workers that must have been built before any of them answers.
    """

    notes: Path
    seconds: float = 0.0
    deadly: frozenset[int] = frozenset()
    raising: frozenset[int] = frozenset()
    hanging: frozenset[int] = frozenset()
    length: int = 0
    gather: int = 0
    pid: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        self._note(["loaded"])

    def _note(self, lines: Sequence[str]) -> None:
        with self.notes.open("a") as stream:  # short appends do not mix
            stream.write("".join(f"{self.pid} {line}\n" for line in lines))

    def answer(self, table: Table, items: Sequence[WorkItem], score: bool = False) -> list[Result]:
        while self.gather and len(calls(self.notes, "loaded")) < self.gather:
            time.sleep(0.01)
        self._note([name(item) for item in items])
        results: list[Result] = []
        for item in items:
            time.sleep(self.seconds)
            if item.query in self.deadly:
                time.sleep(0.3)  # what was answered before is on its way, or another batch would be blamed first
                os._exit(1)
            if item.query in self.raising:
                raise ValueError(f"query {item.query} is poisoned\nwith a second line")
            while item.query in self.hanging:
                time.sleep(60)
            results.append(Answer(f"{table.name} {name(item)}".ljust(self.length), 0.5 if score else None, 1))
        return results


def name(item: WorkItem) -> str:
    return "-".join(map(str, (item.query, *item.demonstrations)))


@dataclass
class Factory:
    """Builds a `Noting` in the worker."""

    notes: Path
    seconds: float = 0.0
    deadly: frozenset[int] = frozenset()
    raising: frozenset[int] = frozenset()
    hanging: frozenset[int] = frozenset()
    length: int = 0
    gather: int = 0

    def __call__(self) -> Noting:
        return Noting(self.notes, self.seconds, self.deadly, self.raising, self.hanging, self.length, self.gather)


@dataclass
class Refusing:
    """A factory that fails: `how` is `user`, `bug` or `exit`. After `succeed_after` failures it works."""

    notes: Path
    how: str
    succeed_after: int = 10**9

    def __call__(self) -> Noting:
        with self.notes.open("a") as stream:
            stream.write(f"{os.getpid()} tried\n")
        if len(calls(self.notes, "tried")) > self.succeed_after:
            return Noting(self.notes)
        if self.how == "user":
            from selector.errors import UserError  # late: torch takes seconds

            raise UserError("no checkpoint at /models/none:\n  give a folder")
        if self.how == "bug":
            raise RuntimeError("shape mismatch\nsecond line")
        os._exit(1)


def lines(notes: Path) -> list[tuple[int, str]]:
    """Process and what it noted, in order."""
    if not notes.exists():
        return []
    return [(int(pid), what) for pid, what in (line.split(" ", 1) for line in notes.read_text().splitlines())]


def calls(notes: Path, what: str | None = None) -> list[int]:
    """Processes that noted this; without it, one entry per answered item."""
    return [pid for pid, noted in lines(notes) if (noted == what if what else noted not in ("loaded", "tried"))]


def items_of(queries: int, shots: int = 4) -> list[WorkItem]:
    return [WorkItem(query, tuple(range(shot))) for query in range(queries) for shot in range(shots)]


def right(item: WorkItem, gt_prob: float | None = None) -> Answer:
    return Answer(f"table {name(item)}", gt_prob, 1)
