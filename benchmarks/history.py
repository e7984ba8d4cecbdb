"""Accepted figures, and how far later ones are from them. It tells, and never fails: times differ between machines.

    python -m benchmarks.history FILE [--accept]

FILE is what `python -m benchmarks` wrote. `--accept` adds it to history.jsonl beside this module, one line a run, which
is committed with the change that it belongs to. A figure is held against the latest accepted one of a machine with the
same processor and number of cores, else against the latest of any, and then it says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

HISTORY = Path(__file__).parent / "history.jsonl"
NOTABLE = 0.15
"""Runs on a shared machine differ by about ten per cent."""


@dataclass(frozen=True)
class Run:
    """Figures of one run of the benchmarks. `machine` is as `benchmarks.machine` gives it."""

    machine: dict[str, Any]
    figures: tuple[Figure, ...]

    def to_json(self) -> str:
        """One line."""
        return json.dumps({"machine": self.machine, "figures": [asdict(one) for one in self.figures]})

    @classmethod
    def from_json(cls, text: str) -> Run:
        """The inverse of `to_json`."""
        values = json.loads(text)
        return cls(values["machine"], tuple(Figure(**one) for one in values["figures"]))

    def is_like(self, other: Run) -> bool:
        """Whether times of both can be held against each other."""
        return all(self.machine.get(key) == other.machine.get(key) for key in ("processor", "cores", "card"))


def read_history(file: Path = HISTORY) -> list[Run]:
    """Accepted runs, the oldest first."""
    return [Run.from_json(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def accept(run: Run, file: Path = HISTORY) -> None:
    """Add a run to the history."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(run.to_json() + "\n")


def lines_of(run: Run, history: Sequence[Run]) -> list[str]:
    """A table: each figure, the accepted one before it, and the change in per cent where it is notable."""
    rows = [("figure", "now", "accepted", "date", "change")]
    rows += [_row(one, run, history) for one in run.figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(row[place].rjust(widths[place]) for place in (1, 2, 3)), row[4]]).rstrip()
        for row in rows
    ]


def _row(figure: Figure, run: Run, history: Sequence[Run]) -> tuple[str, str, str, str, str]:
    now = _text(figure)
    known = [(one, found) for one in history for found in one.figures if found.name == figure.name]
    alike = [pair for pair in known if pair[0].is_like(run)]
    if not known:
        return figure.name, now, "", "", "new"
    before, accepted = (alike or known)[-1]
    change = figure.value / accepted.value - 1 if accepted.value else 0.0
    worse = (change < 0) == (figure.better == "higher")
    word = "" if abs(change) < NOTABLE else f"{change:+.0%} {'worse' if worse else 'better'}"
    note = "" if alike else "other machine"
    said = ", ".join(filter(None, (word, note)))
    return figure.name, now, _text(accepted), str(before.machine.get("date", ""))[:10], said


def _text(figure: Figure) -> str:
    return f"{figure.value:.3g} {figure.unit}"


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--accept", action="store_true")
    asked = parser.parse_args()
    if not asked.file.is_file():
        parser.error(f"{asked.file}: no such file; `python -m benchmarks --out {asked.file}` writes it")
    run = Run.from_json(asked.file.read_text(encoding="utf-8"))
    print(*lines_of(run, read_history()), sep="\n")
    if asked.accept:
        accept(run)


if __name__ == "__main__":
    main()
