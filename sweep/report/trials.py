"""The trials of a run: one line each within 80 columns, and below the table what has no room on a line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from sweep.report.tables import plain_table, titled
from sweep.study import TrialState, TrialSummary
from sweep.terminal.words import brief_params

NUMBERS_ON_A_LINE = 10


def trial_table(ranked: Sequence[TrialSummary], title: str, limit: int | None = None, *, trains: bool = True) -> Group:
    """Trials by rank, as a person reads them.

    Args:
        ranked: all trials, as `sweep.study.ranking.rank` gives them.
        title: above the table.
        limit: lines of the table, and of the list of reasons; None: all.
        trains: whether a driver trains the trials that the study calls running.
    """
    headers = ["rank", "trial", "state", "val_loss", "best\nepoch", "same\npicks", "verdicts"]
    table = plain_table(headers, left=("state", "verdicts"))
    table.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
    table.expand = True  # the parameters take what room the numbers leave
    for place, row in enumerate(ranked[:limit], start=1):
        agreement = row.standing.agreement
        table.add_row(
            str(place) if row.is_complete else "-",
            str(row.number),
            row.state_name if trains or row.state is not TrialState.RUNNING else "interrupted",
            _value(row),
            f"{row.reached[1] or '-'} of {row.last_step or 0}",
            f"{agreement:.0%}" if agreement is not None else "",
            " ".join(row.verdicts),
            Text(brief_params(row.params)),
        )
    below: list[RenderableType] = [Text(line) for line in _lines_below(ranked, limit)]
    return titled(title, table, *below) if title else Group(table, *below)


def _lines_below(ranked: Sequence[TrialSummary], limit: int | None) -> list[str]:
    """The whole parameters of the best trial, repeats over their seeds, and why trials were pruned or failed."""
    lines = [f"trial {row.number}: {brief_params(row.params)}" for row in ranked[:1] if row.is_complete and row.params]
    lines += _over_seeds(ranked)[:limit]
    reasons = _reasons(ranked)
    lines += reasons[:limit]
    if limit is not None and len(reasons) > limit:
        lines.append(f"and {len(reasons) - limit} other reasons")
    return lines


def _reasons(rows: Sequence[TrialSummary]) -> list[str]:
    """Why trials ended early, each reason once with its trials, the most frequent first."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        if row.reason:
            found.setdefault((row.state_name, row.reason), []).append(row.number)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[1]))
    return [f"{state}, {reason}: {_trials(numbers)}" for (state, reason), numbers in ordered]


def _trials(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, numbers[:NUMBERS_ON_A_LINE]))
    more = f" and {len(numbers) - NUMBERS_ON_A_LINE} more" if len(numbers) > NUMBERS_ON_A_LINE else ""
    return f"{'trial' if len(numbers) == 1 else 'trials'} {named}{more}"


def _over_seeds(rows: Sequence[TrialSummary]) -> list[str]:
    """Mean and spread of the complete repeats of each configuration, best trial first; empty without repeats."""
    repeats: dict[str, list[TrialSummary]] = {}
    for row in rows:
        if row.is_complete:
            repeats.setdefault(row.key, []).append(row)
    lines = []
    for found in repeats.values():
        values = [row.value for row in found if row.value is not None]
        if len(values) > 1:
            spread = f"{statistics.mean(values):.4f} ±{statistics.stdev(values):.4f} ({len(values)})"
            lines.append(f"over seeds, val_loss {spread}: {_trials([row.number for row in found])}")
    return lines


def _value(row: TrialSummary) -> str | Text:
    """The objective of a complete trial; in brackets, the best of what any other one did."""
    if row.is_complete and row.value is not None:
        return f"{row.value:.4f}"
    reached, _ = row.reached
    return Text(f"({reached:.4f})", style="dim") if reached is not None else ""
