"""What a benchmark found, in a form that others can read: one JSON line per figure.

Every benchmark takes `--figures FILE` and appends there what it prints for people.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """A number that a benchmark measured.

    Attributes:
        benchmark: its module below `benchmarks`.
        what: in words. Together with `benchmark` it names the figure.
        value: the number. A ratio has both sides from one run.
        unit: `x` for a ratio.
        better: whether `higher` or `lower` is better.
    """

    benchmark: str
    what: str
    value: float
    unit: str = "x"
    better: str = "higher"

    @property
    def name(self) -> str:
        """Names the figure in the history."""
        return f"{self.benchmark}: {self.what}"


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--figures FILE`."""
    parser.add_argument("--figures", type=Path, help="append what was found to this file, as JSON lines")


def write(file: Path | None, figures: Iterable[Figure]) -> None:
    """Append. Nothing where there is no file."""
    if file is not None:
        with file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(asdict(one)) + "\n" for one in figures)


def read(file: Path) -> list[Figure]:
    """What was written; nothing where nothing was."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Figure(**json.loads(line)) for line in lines]
