"""What `list` prints: one line a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from sweep.report.tables import plain_table
from sweep.results.listing import RunRow
from sweep.results.run_verdict import RunVerdict, VerdictKind
from sweep.terminal.sizes import size_text

COLUMNS = ("run", "state", "trials", "best", "val_loss", "size", "verdict")
WORDS = {
    VerdictKind.BEATS_BASELINE: "beats {baseline}",
    VerdictKind.NOT_DISTINGUISHED: "as good as {baseline}, as far as can be told",
    VerdictKind.WORSE_THAN_BASELINE: "worse than {baseline}",
    VerdictKind.EQUAL_TO_BASELINE: "equal to {baseline}",
    VerdictKind.NOTHING_CORRECT: "no answer was correct",
    VerdictKind.NOT_COMPARED: "compared with nothing",
    VerdictKind.NO_TRIAL_COMPARED: "no trial was compared",
    VerdictKind.NO_COMPLETE_TRIAL: "no complete trial",
}


def print_runs(console: Console, rows: Sequence[RunRow], where: str) -> None:
    """Print the table.

    Args:
        console: as wide as it is.
        rows: in their order.
        where: the folder of runs, for people.
    """
    if not rows:
        console.print(f"no runs in {where}: start one with `python -m sweep run spaces/grpo.yaml`", soft_wrap=True)
        return
    table = plain_table(COLUMNS, left=("run", "state", "verdict"))
    for row in rows:
        trials = f"{row.ended}" + (f"/{row.planned}" if row.planned is not None else "")
        best = "" if row.best is None else str(row.best)
        loss = "" if row.val_loss is None else f"{row.val_loss:.4f}"
        verdict = row.problem or ("" if row.verdict is None else short_verdict(row.verdict))
        size = Text(size_text(row.bytes), no_wrap=True)
        table.add_row(row.paths.name, row.state, "" if row.problem else trials, best, loss, size, Text(verdict))
    console.print(table)


def short_verdict(verdict: RunVerdict) -> str:
    """A verdict in a few words: the difference is in points."""
    words = WORDS[verdict.kind].format(baseline=verdict.baseline or "the baseline")
    by_answers = verdict.measure is not None and "accuracy" in verdict.measure
    if verdict.kind is VerdictKind.BEATS_BASELINE and verdict.difference is not None and by_answers:
        return f"{words} by {100 * verdict.difference.value:.1f} points"
    return words


def runs_document(rows: Sequence[RunRow], where: str) -> dict[str, Any]:
    """What `list --json` prints. docs/json.md describes the fields."""
    return {"format": "sweep-list/1", "folder": where, "runs": [_run(row) for row in rows]}


def _run(row: RunRow) -> dict[str, Any]:
    changed = None if row.changed is None else datetime.fromtimestamp(row.changed, UTC).isoformat(timespec="seconds")
    return {
        "run": row.paths.name,
        "folder": row.paths.shown,
        "state": str(row.state),
        "changed": changed,
        "bytes": row.bytes,
        "ended_trials": row.ended,
        "planned_trials": row.planned,
        "best": None if row.best is None else {"trial": row.best, "val_loss": row.val_loss},
        "verdict": None if row.verdict is None else row.verdict.model_dump(mode="json"),
        "problem": row.problem or None,
    }
