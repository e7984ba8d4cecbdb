"""The document: sections of texts, tables, charts and galleries. Renderers know no run, and this knows no renderer.

Values are raw numbers, and a column says how people write them. So a document as JSON can be computed with.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval. `value` is None where only the interval is known."""

    value: float | None
    low: float
    high: float


Value = str | int | float | bool | Interval | None


class Format(StrEnum):
    """How the numbers of a column are written."""

    TEXT = "text"
    COUNT = "count"  # 1,234
    LOSS = "loss"  # four decimals
    NUMBER = "number"  # three significant digits
    SHORT = "short"  # two decimals
    SIGNED = "signed"  # two decimals with the sign
    SHARE = "share"  # a fraction, as percent
    POINTS = "points"  # a difference of fractions, as percentage points with the sign
    P = "p"  # a p-value
    SECONDS = "seconds"


@dataclass(frozen=True)
class Column:
    """`key` names the value in JSON, `title` is for people."""

    key: str
    title: str
    format: Format = Format.TEXT


@dataclass(frozen=True)
class Table:
    """Rows of values.

    Attributes:
        columns: one for each value of a row.
        marked: places of rows that stand out.
        notes: sentences below it.
        open_rows: rows that people see at once. The others can be unfolded.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    marked: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    open_rows: int = 25


class Role(StrEnum):
    """What a series is, which says its colour. The kinds without a meaning follow each other by contrast."""

    FIRST = "first"
    SECOND = "second"
    THIRD = "third"
    FOURTH = "fourth"
    FIFTH = "fifth"
    QUIET = "quiet"


class Mark(StrEnum):
    """How a series is drawn."""

    POINTS = "points"
    LINE = "line"
    STEPS = "steps"
    BAND = "band"  # between `low` and `high`
    BARS = "bars"  # from 0, to the right


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Attributes:
        x: numbers, or names on an axis of names.
        y: None breaks a line.
        low: of the interval of each point; empty where there is none.
        high: as `low`.
        labels: what each point is, for people.
    """

    name: str
    mark: Mark
    x: tuple[float | str, ...]
    y: tuple[float | str | None, ...]
    role: Role = Role.FIRST
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Axis:
    """What stands along a side of a chart.

    Attributes:
        edges: where a line crosses the chart, such as the ends of the range that was searched.
        bottom, top: what is shown at first. None: everything.
    """

    title: str
    log: bool = False
    edges: tuple[float, ...] = ()
    bottom: float | None = None
    top: float | None = None


@dataclass(frozen=True)
class Chart:
    """A chart. `alt` says in words what it shows, for who cannot see it."""

    key: str
    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    alt: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dimension:
    """A parameter as an axis. `choices` are the names of its values from 0 on; empty for numbers."""

    name: str
    low: float
    high: float
    log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Path:
    """One trial across all dimensions. `values` are None where the parameter was not in use."""

    trial: int
    val_loss: float
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Parallel:
    """Parallel coordinates. `paths` are in the order of val_loss, best first."""

    key: str
    title: str
    dimensions: tuple[Dimension, ...]
    paths: tuple[Path, ...]
    alt: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """One item as the model saw it. `image` is a data URI of a small copy, None where it cannot be had."""

    item: int
    question: str
    answer: str
    image: str | None


@dataclass(frozen=True)
class Side:
    """What one row of the evaluation showed and got. `accuracy` in [0, 1]."""

    row: str
    demonstrations: tuple[Shown, ...]
    answer: str
    accuracy: float


@dataclass(frozen=True)
class Card:
    """One question under two selections."""

    question: Shown
    shots: int
    sides: tuple[Side, Side]


@dataclass(frozen=True)
class Gallery:
    """Questions side by side. `total` counts those that there are, of which these are the first."""

    key: str
    title: str
    total: int
    cards: tuple[Card, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """Sentences. The first of a `strong` one stands out."""

    sentences: tuple[str, ...]
    strong: bool = False
    listed: bool = False


@dataclass(frozen=True)
class Finding:
    """Something that was found in a run: what, by which evidence, and the change to make (empty: none)."""

    code: str
    title: str
    evidence: tuple[str, ...]
    change: str
    trials: tuple[int, ...] = ()


@dataclass(frozen=True)
class Findings:
    """All of them, worst first."""

    key: str
    title: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


Block = Text | Findings | Table | Chart | Parallel | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the document under a heading. `key` is its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """All that is said of a run.

    Attributes:
        run: its name.
        state: of the run, such as `finished`.
        made: when, ISO 8601 in UTC.
        headline: the verdict in one sentence.
    """

    run: str
    state: str
    made: str
    headline: str
    sections: tuple[Section, ...]
