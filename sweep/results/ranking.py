"""The final table: which trial is best, by which metric, and whether it beats what needs no training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from sweep.evaluation.records import Evaluation
from sweep.execution.progress import brief_params
from sweep.plan.requests import Plan
from sweep.results.held_out import HeldOutRow, compare, row_dict
from sweep.results.policies import best_epochs, contestants
from sweep.runs.paths import RunPaths
from sweep.study import TrialSummary

TOP = 5
NARROW = {"best epoch": 8, "same picks": 5}  # leaves room for the parameters in 80 columns


def rank(summaries: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Complete trials by value, then the others by number: a trial that was stopped early has no rank."""
    complete = sorted((row for row in summaries if row.is_complete), key=lambda row: (row.value, row.number))
    return [*complete, *(row for row in summaries if not row.is_complete)]


def best_checkpoint(paths: RunPaths, number: int) -> Path:
    """Folder of a trial's best stored epoch by val_loss. Raises RunError if the trial has none."""
    return best_epochs(paths, number)[0]


def held_out_rows(plan: Plan, paths: RunPaths, ranked: Sequence[TrialSummary]) -> list[HeldOutRow]:
    """Random, similarity, the shared RCE references, and the best complete trials that changed something."""
    policies = {one.row.name: one.load() for one in contestants(paths, ranked, TOP)}
    return compare(plan.dataset, plan.space.data, plan.space.validation, policies)


def ranking_document(
    plan: Plan, ranked: Sequence[TrialSummary], rows: Sequence[HeldOutRow], evaluation: Evaluation | None
) -> dict[str, Any]:
    """What `ranking.json` holds. The winner by answers, where there is one, is more than the best by val_loss."""
    best = ranked[0] if ranked and ranked[0].is_complete else None
    winner = None if evaluation is None else evaluation.winner.model_dump(mode="json")
    return {
        "metric": {"name": "val_loss", "kind": plan.space.validation.metric, "direction": "minimize"},
        "data_fingerprint": plan.summary.fingerprint,
        "best_trial": None if best is None else best.number,
        "winner_by_answers": winner,
        "trials": [{**asdict(row), "state": row.state_name} for row in ranked],
        "held_out": [row_dict(row) for row in rows],
    }


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
            f"{row.attrs.get('best_step') or '-'} of {row.last_step or 0}",
            f"{agreement:.0%}" if (agreement := row.attrs.get("agreement_sequence")) is not None else "",
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
    reached = row.attrs.get("best_loss") if row.state.is_finished() else row.best_value
    return f"[dim]({reached:.4f})[/dim]" if reached is not None else ""


def held_out_table(rows: Sequence[HeldOutRow]) -> Table:
    """Policies on the test split; differences to similarity with their 95 % intervals."""
    shots = len(rows[0].accuracy) if rows and rows[0].accuracy else 0
    title = "Held-out test queries (a no_op trial selects what rce_only selects)"
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    columns = ["policy", *(f"accuracy, {shot}-shot" for shot in range(1, shots + 1))]
    columns += ["minus similarity [95 %]"] if shots else []
    columns += ["expected reward", "minus similarity [95 %]", "loss"]
    for column in columns:
        table.add_column(column, justify="left" if column == "policy" else "right")
    for row in rows:
        accuracy = [f"{value:.3f}" for value in row.accuracy or ()]
        gains = [_interval(row.accuracy_gain)] if shots else []
        reward = [f"{row.reward:.3f}", _interval(row.reward_gain), _loss(row.loss)]
        table.add_row(row.name, *accuracy, *gains, *reward)
    return table


def _loss(value: float) -> str:
    """The listwise losses are undefined where no test group has contrast."""
    return f"{value:.4f}" if math.isfinite(value) else "undefined"


def _interval(gain: tuple[float, float, float] | None) -> str:
    if gain is None:
        return ""
    middle, low, high = (round(value, 3) + 0.0 for value in gain)  # + 0.0: no "-0.000"
    return f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]"
