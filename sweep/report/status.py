"""What `status` prints: a few lines on the run and its driver, one line a trial, and how the run ended."""

from __future__ import annotations

from rich.console import Console

from sweep.report.evaluations import other_lines
from sweep.report.trials import trial_table
from sweep.results.evaluations import DECLARED
from sweep.results.run_state import RunState
from sweep.results.status import RunStatus
from sweep.runs.driver import DriverRecord, Phase
from sweep.terminal.live import duration

WIDTH = 80
"""Columns where the output is no terminal."""
TRIALS = 20


def print_status(console: Console, status: RunStatus, limit: int | None = TRIALS) -> None:
    """Print how a run stands.

    Args:
        console: as wide as it is.
        status: what to print.
        limit: lines of the table of trials; None: all.
    """
    for line in status_lines(status):
        console.print(line, markup=False, highlight=False)
    if command := _next_command(status):
        console.print(command, markup=False, highlight=False, soft_wrap=True)
    if status.rows:
        console.print(trial_table(status.rows, "", limit, trains=status.trains))
    if limit is not None and len(status.rows) > limit:
        left = len(status.rows) - limit
        line = f"and {left} more: `python -m sweep status {status.paths.shown} --all` shows all"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if status.verdict is not None:
        other = status.evaluation is not None and status.evaluation.name != DECLARED
        of = f" by the evaluation {status.evaluation.name}" if status.evaluation is not None and other else ""
        console.print("", f"verdict{of}: {status.verdict}", sep="\n", highlight=False, markup=False)
    elif status.state is RunState.FINISHED and status.best is not None:
        console.print("", f"best: trial {status.best.number} by val_loss", sep="\n", highlight=False, markup=False)
    for line in other_lines(status.paths, status.evaluation):
        console.print(line, highlight=False, markup=False)


def status_lines(status: RunStatus) -> list[str]:
    """The run, then its driver if it has one or had one that ended early."""
    record, driver = status.driver.record, status.driver
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items()) or "no trials yet"
    planned = f" of {status.planned}" if status.planned is not None else ""
    trials = f"{status.ended}{planned} trials ended ({counts})" if status.rows else counts
    if driver.alive:
        doing = "running" if record is None else _doing(record)
        lines = [f"{status.paths.name}: {doing}{_left(status)}", trials]
    else:
        state = "its driver died" if status.state is RunState.DEAD else status.state.value + _why(status)
        lines = [f"{status.paths.name}: {state}", trials]
    if record is not None and (driver.alive or status.state is RunState.DEAD):
        where = "this machine" if driver.here else record.host
        sign = "" if driver.age is None else f"; last seen {brief(driver.age)} ago"
        began = record.updated - record.began
        word = f"at work for {brief(began)}" if driver.alive else f"died after {brief(began)} at work"
        lines.append(f"driver: process {record.pid} on {where}, {word}{sign}")
    return lines


def _doing(record: DriverRecord) -> str:
    if record.phase is Phase.TRAINING or not record.unit:
        return "starting Ray" if record.phase is Phase.STARTING else record.phase.value
    total = "" if record.total is None else f" of {record.total:,}"
    return f"{record.phase.value}, {record.done:,}{total} {record.unit}"


def _left(status: RunStatus) -> str:
    return "" if status.seconds_left is None else f"; about {brief(status.seconds_left)} left"


def _why(status: RunStatus) -> str:
    record, age = status.driver.record, status.driver.age
    if record is None or status.state is RunState.FINISHED:
        return ""
    ago = "" if age is None else f" {brief(age)} ago"
    return f"{ago}: {record.reason}" if record.reason else ago


def _next_command(status: RunStatus) -> str:
    shown = status.paths.shown
    if status.driver.alive:
        return f"stop it with: python -m sweep stop {shown}"
    return "" if status.state is RunState.FINISHED else f"continue with: python -m sweep resume {shown}"


def brief(seconds: float) -> str:
    """`40 s`, `12 min`, or hours, minutes and seconds."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else duration(seconds)
