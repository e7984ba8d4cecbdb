"""TODO-DOC"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from sweep.study import TrialSummary
from sweep.terminal.words import brief_params

NARROW = {"best epoch": 8, "same picks": 5}  # leaves room for the parameters in 80 columns


def trial_table(ranked: Sequence[TrialSummary], title: str) -> Table:
    """Trials by rank, as a person reads them."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    seeds = _over_seeds(ranked)
    columns = ["rank", "trial", "state", "val_loss", "best epoch", "same picks", "verdicts", "parameters"]
    for column in [*columns[:4], "over seeds", *columns[4:]] if seeds else columns:
        text = column in ("state", "verdicts", "parameters")
        table.add_column(
            column,
            overflow="fold",
            justify="left" if text else "right",
            no_wrap=column in ("rank", "trial", "val_loss"),
            max_width=NARROW.get(column),
        )
    for place, row in enumerate(ranked, start=1):
        table.add_row(
            str(place) if row.is_complete else "-",
            str(row.number),
            row.state_name + (f": {escape(row.reason)}" if row.reason else ""),
            _value(row),
            *([seeds.get(row.key, "")] if seeds else []),
            f"{row.standing.best_step or '-'} of {row.last_step or 0}",
            f"{agreement:.0%}" if (agreement := row.standing.agreement) is not None else "",
            " ".join(row.verdicts),
            brief_params(row.params),
        )
    return table


def _over_seeds(rows: Sequence[TrialSummary]) -> dict[str, str]:
    """Mean and spread of the complete repeats of each configuration, by its key; empty where nothing is repeated."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.is_complete and row.value is not None:
            values.setdefault(row.key, []).append(row.value)
    return {
        key: f"{statistics.mean(found):.4f} ±{statistics.stdev(found):.4f} ({len(found)})"
        for key, found in values.items()
        if len(found) > 1
    }


def _value(row: TrialSummary) -> str:
    """The objective of a complete trial; in brackets, the best of what any other one did."""
    if row.is_complete and row.value is not None:
        return f"{row.value:.4f}"
    reached = row.standing.best_loss if row.state.is_finished() else row.best_value
    return f"[dim]({reached:.4f})[/dim]" if reached is not None else ""
