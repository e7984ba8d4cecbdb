"""Tables for the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from selector.data import DataSummary, Split
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.plan.plan import CollectionPlan, Plan
from sweep.report.evaluation import render
from sweep.report.held_out import held_out_table
from sweep.report.plan import describe_collection, describe_parameters, describe_plan
from sweep.report.trials import trial_table
from sweep.results.outcome import RunOutcome
from sweep.results.verify import Verified, VerifiedAnswers
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.study import read_summaries
from sweep.study.ranking import rank


def plan_table(plan: Plan | CollectionPlan) -> Table:
    """What would run."""
    return _rows(describe_collection(plan) if isinstance(plan, CollectionPlan) else describe_plan(plan))


def parameter_table(plan: Plan | CollectionPlan) -> Table:
    """What varies."""
    table = _rows(describe_parameters(plan.space) or [("parameters", "none: every trial has the same settings")])
    table.title, table.title_justify = "Parameters", "left"
    return table


def _rows(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in rows:
        table.add_row(label, text)
    return table


def data_table(summary: DataSummary) -> Table:
    """What a data set holds."""
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in summary.counts.items() if count]
    pools, groups = summary.pool_sizes, summary.group_sizes
    return _rows(
        [
            ("fingerprint", summary.fingerprint),
            ("queries", ", ".join(f"{summary.queries[split]} {split.name.lower()}" for split in Split)),
            ("items", f"{summary.items} of width {summary.width}"),
            ("candidates per query", f"{pools.minimum} to {pools.maximum}"),
            (
                "beams per group",
                f"{groups.minimum} to {groups.maximum}; {summary.beams} in all, {summary.picks} picks each",
            ),
            ("measured", ", ".join(summary.outcomes)),
            ("left out or noticed", ", ".join(counts) or "nothing"),
        ]
    )


def outcome(console: Console, ended: RunOutcome) -> None:
    """The end of a run: ranking, held-out comparison, and where everything is."""
    console.print()
    console.print(trial_table(ended.ranked, "Trials by val_loss (lower is better; only complete trials have a rank)"))
    if ended.held_out:
        console.print()
        console.print(held_out_table(ended.held_out))
    if ended.evaluation is not None:
        console.print()
        evaluation(console, ended.evaluation)
    console.print()
    if ended.ended_because:
        console.print(f"no more trials: {ended.ended_because}", soft_wrap=True, highlight=False)
    if ended.interrupted:
        interrupted(console, ended.paths)
    elif ended.exit_code:
        console.print("no trial was completed", style="bold red")
    else:
        winner = ended.evaluation.winner.row if ended.evaluation is not None else None
        best = f"{winner} by answers" if winner else f"trial {ended.ranked[0].number} by val_loss"
        console.print(f"best: {best}; take it home with", soft_wrap=True, highlight=False)
        console.print(f"  python -m sweep export {ended.paths.shown} --out DIR", soft_wrap=True, highlight=False)
    console.print(f"run folder: {ended.paths.shown}", soft_wrap=True, highlight=False)


def evaluation(console: Console, found: Evaluation) -> None:
    """The comparison by answers."""
    console.print(render(found, console.width))


def interrupted(console: Console, paths: RunPaths) -> None:
    """How to go on."""
    console.print(f"interrupted; continue with: python -m sweep resume {paths.shown}", soft_wrap=True, highlight=False)


def status(console: Console, paths: RunPaths) -> None:
    """Trials of a run, running or finished."""
    record = read_record(paths)
    rows = rank(read_summaries(record.storage_url(paths), record.study))
    states = Counter(row.state_name for row in rows)
    ended = "finished" if paths.ranking_file.exists() else "not finished"
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no trials yet"
    console.print(trial_table(rows, f"{paths.name}: {ended}; {counts}"))
    if paths.evaluation_file.exists():
        console.print("", read_evaluation(paths.evaluation_file).winner.sentence, highlight=False)


def verification(console: Console, epochs: Sequence[Verified], answers: Sequence[VerifiedAnswers]) -> int:
    """Recomputed numbers beside the stored ones. Returns the exit code: 1 if any differs."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("trial", "epoch", "stored val_loss", "recomputed", ""):
        table.add_column(column, justify="right")
    for row in epochs:
        table.add_row(str(row.trial), str(row.step), f"{row.stored:.6f}", f"{row.recomputed:.6f}", _verdict(row.agrees))
    console.print(table)
    if answers:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("row", "stored accuracy", "recomputed", "other demonstrations", ""):
            table.add_column(column, justify="left" if column == "row" else "right")
        for line in answers:
            other = "checkpoint is gone" if line.missing else str(line.other_picks)
            table.add_row(line.row, f"{line.stored:.4f}", f"{line.recomputed:.4f}", other, _verdict(line.agrees))
        console.print("", table)
    agreed = [*(row.agrees for row in epochs), *(line.agrees for line in answers)]
    return 0 if all(agreed) else 1


def _verdict(agrees: bool) -> str:
    return "ok" if agrees else "[bold red]differs[/bold red]"
