"""What `doctor` and `next` print, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from sweep.evaluation.wording import counted
from sweep.report.tables import plain_table, titled
from sweep.results.doctor import Diagnosis
from sweep.results.finding import REMOVED, Change, Finding, Severity
from sweep.results.importance import Importance, Interval
from sweep.results.learning_curve import LearningCurve
from sweep.results.next_space import NextSpace
from sweep.results.receipts import Receipt
from sweep.runs.paths import RunPaths

SEVERITIES = {
    Severity.RESULT: "the result is at stake",
    Severity.LOSS: "better was within reach",
    Severity.WASTE: "effort without use",
    Severity.HINT: "good to know",
}
MOST_RECEIPTS = 12


def render_diagnosis(found: Diagnosis) -> RenderableType:
    """Findings, importance, receipts, then what was not looked at."""
    parts: list[RenderableType] = []
    if not found.findings:
        parts += [Text("Nothing was found that should change."), ""]
    for place, finding in enumerate(found.findings, start=1):
        parts += [*_finding(place, finding), ""]
    for importance in found.importance:
        parts += [_importance(importance), ""]
    for curve in found.learning_curves:
        if curve.gain is not None:
            parts += [_learning_curve(curve), ""]
    if found.receipts:
        parts += [_receipts(found.receipts), ""]
    if found.not_looked:
        parts += [Text("Not looked at", style="italic"), *(Text(f"- {line}") for line in found.not_looked)]
    return Group(*parts)


def _finding(place: int, finding: Finding) -> list[RenderableType]:
    style = "bold red" if finding.severity is Severity.RESULT else "bold"
    return [
        Text(f"{place}. {finding.title}", style=style),
        Text(f"   {SEVERITIES[finding.severity]} ({finding.code})", style="italic"),
        *(Text(f"   {line}") for line in finding.evidence),
        Text(f"   change: {finding.advice}", style="green"),
    ]


def _importance(found: Importance) -> Group:
    what = "val_loss" if found.target == "val_loss" else "the accuracy of answers"
    title = f"What mattered for {what}"
    if found.reason:
        return titled(title, *(Text(note) for note in found.notes))
    table = plain_table(
        ["parameter", "importance", "p", "alone, complete trials", "known"], left=("parameter", "known")
    )
    for one in found.effects:
        table.add_row(
            one.path,
            _interval(one.importance),
            "" if one.p is None else f"{one.p:.3f}",
            f"{_interval(one.association, signed=one.measure == 'rank correlation')}"
            f"{'' if one.measure == 'rank correlation' else ' eta²'}",
            "matters" if one.is_told else "cannot be told",
        )
    return titled(title, table, *(Text(note) for note in found.notes))


def _interval(found: Interval | None, *, signed: bool = False) -> str:
    if found is None:
        return ""
    form = "+.2f" if signed else ".2f"
    ends = "" if found.low is None or found.high is None else f" [{found.low:{form}}, {found.high:{form}}]"
    return f"{found.value:{form}}{ends}"


def _learning_curve(found: LearningCurve) -> Group:
    table = plain_table(["training queries", "mean", "gain over the largest size"], left=())
    for size in found.sizes:
        table.add_row(str(size.queries), f"{size.mean:.4f}", "")
    for one in found.predictions:
        table.add_row(f"{one.queries} (law)", _four(one.value), _four(one.gain))
    note = "More data surely helps." if found.is_told else f"Cannot be told: {found.reason}."
    return titled(f"Learning curve of {found.target}", table, Text(note))


def _four(found: Interval) -> str:
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


def _receipts(found: Sequence[Receipt]) -> Group:
    headers = ["trial", "epoch", "rung", "compared", "threshold", "from", "expected", "chance best", "why"]
    table = plain_table(headers, left=("why",))
    for one in sorted(found, key=lambda one: (-(one.chance or 0.0), one.trial))[:MOST_RECEIPTS]:
        table.add_row(
            str(one.trial),
            *(_number(value) for value in (one.epoch, *_compared(one), one.expected)),
            "" if one.chance is None else f"{one.chance:.0%}",
            one.reason.removesuffix(" pruner"),
        )
    more = [Text(f"and {len(found) - MOST_RECEIPTS} more (--json)")] if len(found) > MOST_RECEIPTS else []
    note = (
        "Stopped for being beyond the threshold, which is from so many trials. The report says more of each. Expected: "
        "its best value, had it improved as those that ran on did."
    )
    return titled("Pruned trials", table, *more, Text(note))


def _compared(one: Receipt) -> tuple[float | None, ...]:
    found = one.compared
    if found is None:
        return None, one.value, None, None
    return found.rung, found.value, found.threshold, found.trials or None


def _number(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"


def diagnosis_document(paths: RunPaths, found: Diagnosis) -> dict[str, Any]:
    """What `doctor --json` prints (docs/json.md)."""
    return {
        "format": "sweep-doctor/1",
        "run": paths.name,
        "findings": [
            {**asdict(one), "severity": one.severity.name.lower(), "changes": [_change(item) for item in one.changes]}
            for one in found.findings
        ],
        "importance": [{**asdict(one), "notes": list(one.notes)} for one in found.importance],
        "learning_curves": [asdict(one) for one in found.learning_curves],
        "receipts": [asdict(one) for one in found.receipts],
        "not_looked_at": list(found.not_looked),
    }


def _change(one: Change) -> dict[str, Any]:
    gone = one.value is REMOVED
    return {"path": list(one.path), "remove": gone, "value": None if gone else one.value, "reason": one.reason}


def render_next(found: NextSpace, out: str) -> RenderableType:
    """What changed, and how to run it."""
    table = plain_table(["what", "now", "why"], left=("what", "now", "why"))
    for one in found.applied:
        gone = one.value is REMOVED
        table.add_row(Text(".".join(one.path)), Text("taken out" if gone else str(one.value)), Text(one.reason))
    parts: list[RenderableType] = [titled("Changes", table)] if found.applied else [Text("No change follows.")]
    parts += [Text(f"not applied: {finding.title} ({why})") for finding, why in found.left_out]
    if found.points:
        parts.append(Text(f"tried first: trials {', '.join(map(str, found.points))}"))
    if found.prior:
        parts.append(Text(f"given to the sampler: the losses of {counted(len(found.prior), 'trial')}"))
    return Group(*parts, Text(f"written to {out}; start it with:"), Text(f"  python -m sweep run {out}"))


def next_document(paths: RunPaths, found: NextSpace, out: str) -> dict[str, Any]:
    """What `next --json` prints (docs/json.md)."""
    return {
        "format": "sweep-next/1",
        "run": paths.name,
        "out": out,
        "changes": [_change(one) for one in found.applied],
        "not_applied": [{"code": finding.code, "title": finding.title, "why": why} for finding, why in found.left_out],
        "points": list(found.points),
        "prior": list(found.prior),
    }
