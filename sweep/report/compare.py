"""A comparison of selectors, for people and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweep.evaluation.wording import points, signed
from sweep.report.tables import plain_table, titled
from sweep.results.compared import Comparison, CurveStatistics, Pair, relative_words

TENSORS = 12


def render_comparison(found: Comparison) -> RenderableType:
    """Everything, the verdicts first."""
    parts: list[RenderableType] = []
    for pair in found.pairs:
        title = Text(f"{pair.first.label} (first) and {pair.second.label} (second)", style="bold")
        parts += [title, *(Text(sentence) for sentence in pair.sentences), ""]
    for group in found.alike if len(found.sides) > 2 else ():
        parts += [Text(f"Functionally the same: {', '.join(found.sides[place].label for place in group)}."), ""]
    for pair in found.pairs:
        parts += [_selections(pair), ""]
        if pair.accuracy:
            parts += [_accuracies(pair), ""]
        if pair.tensors and pair.relative:
            parts += [_tensors(pair), ""]
    if any(found.curves):
        parts.append(_curves(found))
    return Group(*parts)


def _name(pair: Pair) -> str:
    return f"{pair.second.label} and {pair.first.label}"


def _selections(pair: Pair) -> Group:
    table = plain_table(["shots", "same pick here", "same set so far", "same order so far"], left=())
    rows = zip(pair.agreement.position, pair.agreement.sets, pair.agreement.order, strict=True)
    for shots, shares in enumerate(rows, start=1):
        table.add_row(str(shots), *(f"{100 * share:.1f} %" for share in shares))
    lines = [
        Text(f"question item {one.item}: {_items(one.first)} by the first, {_items(one.second)} by the second")
        for one in pair.agreement.examples
    ]
    title = f"Selections of {_name(pair)}, {pair.agreement.questions} questions"
    return titled(title, table, *lines)


def _items(items: Sequence[int]) -> str:
    return " ".join(map(str, items))


def _accuracies(pair: Pair) -> Group:
    table = plain_table(["shots", "second - first", "95 % interval", "questions"], left=())
    for one in pair.accuracy:
        interval = f"[{signed(one.low)}, {signed(one.high)}]"
        shots = "mean" if one.shots is None else str(one.shots)
        table.add_row(shots, points(one.value, signed=True), Text(interval), str(one.questions))
    return titled(f"VQA accuracy, {_name(pair)}", table)


def _tensors(pair: Pair) -> Group:
    table = plain_table(["mean", "max", "relative", "tensor"], left=("tensor",))
    changes = pair.tensors or ()
    for one in sorted(changes, key=lambda change: -_sortable(change.relative))[:TENSORS]:
        table.add_row(f"{one.mean:.2e}", f"{one.highest:.2e}", relative_words(one.relative), Text(one.name))
    more = [Text(f"and {len(changes) - TENSORS} more")] if len(changes) > TENSORS else []
    return titled(f"Weights that differ most, {_name(pair)}", table, *more)


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _curves(found: Comparison) -> Group:
    names = list(dict.fromkeys(name for curve in found.curves for name in curve))
    table: Table = plain_table(
        ["number", "of", "mean", "first", "last", "change", "lowest", "at"], left=("number", "of")
    )
    for name in names:
        for side, curve in zip(found.sides, found.curves, strict=True):
            if name in curve:
                table.add_row(name, Text(side.label), *_statistics(curve[name]))
    return titled("Curves over the epochs of each trial", table)


def _statistics(one: CurveStatistics) -> list[str]:
    numbers = (one.mean, one.first, one.last, one.change, one.lowest)
    return [*(f"{number:.3g}" for number in numbers), str(one.lowest_step)]


def comparison_document(found: Comparison) -> dict[str, Any]:
    """The same as plain values for JSON. NaN becomes null."""
    return {
        "selectors": [
            {
                "label": side.label,
                "checkpoint": side.checkpoint,
                "step": side.step,
                "verdicts": list(side.verdicts),
                "curves": {name: {**asdict(one), "change": _number(one.change)} for name, one in curve.items()},
            }
            for side, curve in zip(found.sides, found.curves, strict=True)
        ],
        "pairs": [
            {
                "first": pair.first.label,
                "second": pair.second.label,
                "verdict": list(pair.sentences),
                "relative": _number(pair.relative),
                "tensors": None if pair.tensors is None else [_plain(asdict(one)) for one in pair.tensors],
                "agreement": asdict(pair.agreement),
                "accuracy": [asdict(one) for one in pair.accuracy],
            }
            for pair in found.pairs
        ],
        "functionally_the_same": [[found.sides[place].label for place in group] for group in found.alike],
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in values.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
