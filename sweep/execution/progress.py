"""Progress that a person can follow: a live table on a terminal, one line per event anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.pace import Pace
from sweep.study import TrialSummary
from sweep.terminal.console import is_in_log
from sweep.terminal.live import HEARTBEAT_SECONDS, duration, live_view, sparkline
from sweep.terminal.waiting import Waiting
from sweep.terminal.words import brief_params
from sweep.trials.messages import EpochResult

RECENT = 6
CURVE = 10
"""Signs of a trial's curve of val_loss."""
STARTING = "waiting for the first epoch: workers load the program first"


class LiveProgress:
    """An observer that prints. Use as a context manager around the run."""

    def __init__(
        self,
        console: Console,
        run: str,
        planned: int | None,
        epochs_of: Callable[[Mapping[str, Any]], int],
        ended_after: Iterable[int] = (),
    ) -> None:
        """Prepare.

        Args:
            console: where it is shown.
            run: the run's name.
            planned: trials in all; None where only time limits them.
            epochs_of: the most epochs, over both stages, of a trial with these sampled parameters.
            ended_after: epochs of each trial that ended under an earlier driver.
        """
        self._console = console
        self._run = run
        self._planned = planned
        self._epochs_of = epochs_of
        self._pace = Pace(ended_after)
        self._waiting = Waiting(self._remind, STARTING)
        self._begun = time.monotonic()
        self._said = self._begun
        self._states: dict[str, int] = {}
        self._best: TrialSummary | None = None
        self._params: dict[int, Mapping[str, Any]] = {}
        self._running: dict[int, EpochResult | None] = {}
        self._curves: dict[int, dict[int, float]] = {}  # val_loss by step, of running trials
        self._recent: list[str] = []
        self._live = live_view(console, self._table)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        if not self._console.is_terminal:
            self._waiting.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting.end()
        self._live.__exit__(None, None, None)

    def started(self, event: TrialStarted) -> None:
        """A trial begins."""
        self._states = event.states
        self._params[event.number] = event.params
        self._running[event.number] = None
        self._curves.setdefault(event.number, {})
        self._pace.started(event.number, self._epochs_of(event.params))
        how = "continues" if event.adopted else "starts"
        self._say(f"trial {event.number:>3} {how}  {brief_params(event.params)}")

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done; said aloud only now and then where there is no live table."""
        self._running[result.number] = result
        self._curves[result.number][result.report.step] = result.report.val_loss
        self._waiting.end()
        self._pace.epoch(result.number, result.report.step, result.report.seconds, time.monotonic())
        if not self._console.is_terminal and time.monotonic() - self._said > HEARTBEAT_SECONDS:
            self._say(
                f"trial {result.number:>3} {describe_epoch(result, self._pace.total(result.number))}  "
                f"{self._epochs()}{self._left()}"
            )

    def ended(self, event: TrialEnded) -> None:
        """A trial is over."""
        self._states = event.states
        self._pace.ended(event.trial.number)
        self._best = event.best
        self._running.pop(event.number, None)
        self._curves.pop(event.number, None)
        trial = event.trial
        reason = f"({trial.reason})" if trial.reason else ""
        parts = [describe_end(trial), reason, " ".join(trial.verdicts)]
        self._say(f"trial {trial.number:>3} {trial.state_name}  {' '.join(filter(None, parts))}")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        if is_in_log(self._console):
            return  # it has every event already (`EventLog`)
        if self._console.is_terminal:
            self._recent = [*self._recent, line][-RECENT:]
        else:
            self._console.print(f"[{self._clock()}] {line}", markup=False, highlight=False, soft_wrap=True)

    def _remind(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def _to_come(self) -> int | None:
        """Trials that have not begun, where that is known."""
        begun = sum(count for state, count in self._states.items() if state != "waiting")
        return None if self._planned is None else max(self._planned - begun, 0)

    def _left(self) -> str:
        """Time until the last trial ends, where that can be said."""
        seconds = self._pace.seconds_left(self._to_come)
        return "" if seconds is None else f"  about {duration(seconds)} left"

    def _epochs(self) -> str:
        """Epochs of all trials so far, and how many there will be."""
        done, left = self._pace.epochs_done, self._pace.epochs_left(self._to_come)
        return f"{done:,} epochs" if left is None else f"{done:,} of about {done + round(left):,} epochs"

    def _clock(self) -> str:
        return duration(time.monotonic() - self._begun)

    def _table(self) -> RenderableType:
        # The parameters take what room the numbers leave, and are cut there: what they are was said at the start.
        table = Table(box=None, pad_edge=False, expand=True)
        for column in ("trial", "stage", "epoch", "val_loss", "curve", "KL", "adv std", "verdicts"):
            table.add_column(column, no_wrap=True)
        table.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
        for number, result in sorted(self._running.items()):
            curve = list(self._curves[number].values())
            cells = _cells(result, self._pace.total(number), curve)
            table.add_row(str(number), *cells, brief_params(self._params[number]))
        recent = [*self._recent] if any(self._running.values()) or self._ended else [*self._recent, f"{STARTING} ..."]
        lines = (Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in recent)
        return Group(*(Text(line, style="bold") for line in self._head()), table, *lines)

    @property
    def _ended(self) -> int:
        return sum(count for state, count in self._states.items() if state not in ("running", "waiting"))

    def _head(self) -> list[str]:
        """How far the run is, what its trials do, and the best one so far."""
        planned = f"/{self._planned}" if self._planned else ""
        states = ", ".join(f"{count} {state}" for state, count in sorted(self._states.items()) if count)
        speed = sum(one.report.queries_per_second for one in self._running.values() if one is not None)
        lines = [
            f"{self._run}  {self._clock()}{self._left()}  {self._epochs()}",
            f"{self._ended}{planned} trials ended  {states}  {speed:,.0f} queries/s",
        ]
        if self._best is not None:
            lines.append(f"best: trial {self._best.number}, {describe_end(self._best)}")
        return lines


def _cells(result: EpochResult | None, total: int, curve: list[float]) -> tuple[str, ...]:
    if result is None:
        return ("waiting", "", "", "", "", "", "")
    report = result.report
    return (
        report.stage,
        f"{report.step}/{total}",
        f"{report.val_loss:.4f}",
        sparkline(curve, CURVE),
        _number(report.kl),
        _number(report.advantage_std),
        " ".join(result.verdicts),
    )


def describe_end(trial: TrialSummary) -> str:
    """A trial's best val_loss with the epoch that it belongs to, and how many epochs there were."""
    best, step = trial.standing.best_loss, trial.standing.best_step
    if best is not None and step is not None:
        return f"best val_loss {best:.4f} at epoch {step} of {trial.last_step or step}"
    return f"after epoch {trial.last_step}" if trial.last_step else ""


def describe_epoch(result: EpochResult, total: int) -> str:
    """An epoch of so many in a few words, for lines of events."""
    report = result.report
    kl = "" if report.kl is None else f" KL {report.kl:.4f}"
    speed = f"{report.queries_per_second:.0f} q/s"
    return f"{report.stage} epoch {report.step}/{total} val_loss {report.val_loss:.4f}{kl} {speed}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
