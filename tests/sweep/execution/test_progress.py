"""What a person sees while trials run."""

from __future__ import annotations

import io
import logging
import re
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from rich.console import Console

from selector.health import Verdict
from sweep.execution.event_log import EventLog
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.pace import Pace
from sweep.execution.progress import LiveProgress
from sweep.study import Standing
from sweep.terminal.console import Screen
from sweep.terminal.live import sparkline
from sweep.terminal.log import logging_to
from sweep.terminal.waiting import Waiting
from sweep.terminal.words import brief_params
from tests.sweep.execution.test_coordinator import result
from tests.sweep.report.test_trials import summary

PARAMS = {"grpo.lr": 5e-05, "grpo.kl_beta": 0.1, "reward.mode": "hard_plus_soft"}


def follow(console: Console) -> LiveProgress:
    progress = LiveProgress(console, "mine-1", 24, lambda params: 14)
    with progress:
        progress.started(TrialStarted(0, PARAMS, False, {"running": 1}))
        progress.epoch(result(0, 3, 2.5))
        progress.started(TrialStarted(1, PARAMS, True, {"running": 2}))
        progress.epoch(result(1, 3, 7.5))
        progress.epoch(result(0, 16, 2.9))
        ended = summary(0, value=2.5, last_step=16, standing=Standing((Verdict.NO_OP,), 9, 2.5))
        progress.ended(TrialEnded(ended, ended, {"complete": 1, "running": 1}))
    return progress


def test_a_line_per_event_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    follow(Screen(file=stream, width=160))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "waiting for the first epoch: workers load the program first ..."
    assert [line.split("] ")[1] for line in lines[1:]] == [
        "trial   0 starts  grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft",
        "trial   1 continues  grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft",
        "trial   0 complete  best val_loss 2.5000 at epoch 9 of 16 no_op",
    ]


@pytest.mark.parametrize(
    ("state", "standing", "reason", "expected"),
    [
        (TrialState.PRUNED, Standing((), 3, 3.0581), "by rank", "best val_loss 3.0581 at epoch 3 of 14 (by rank)"),
        (TrialState.PRUNED, Standing(), "median pruner", "after epoch 14 (median pruner)"),
        (TrialState.FAIL, Standing(), "no memory", "after epoch 14 (no memory)"),
    ],
)  # fmt: skip
def test_a_value_stands_beside_its_own_epoch(state: TrialState, standing: Standing, reason: str, expected: str) -> None:
    stream = io.StringIO()
    progress = LiveProgress(Screen(file=stream, width=160), "mine-1", 24, lambda params: 14)
    progress.started(TrialStarted(0, PARAMS, False, {"running": 1}))
    progress.epoch(result(0, 14, 4.0))
    trial = summary(0, state, reason, last_step=14, standing=standing)
    progress.ended(TrialEnded(trial, None, {state.name.lower(): 1}))
    assert stream.getvalue().splitlines()[-1].split("] ")[1] == f"trial   0 {state.name.lower()}  {expected}"


def test_the_live_table_shows_running_trials_and_the_best_value() -> None:
    console = Screen(file=io.StringIO(), width=160, force_terminal=True)
    progress = follow(console)
    plain = Screen(file=io.StringIO(), width=160)
    plain.print(progress._table())
    assert isinstance(plain.file, io.StringIO)
    text = plain.file.getvalue()
    assert (
        "1/24 trials ended" in text
        and "1 complete, 1 running" in text
        and "best: trial 0, best val_loss 2.5000 at epoch 9 of 16" in text
    )
    assert "7.5000" in text and "reward.mode=hard_plus_soft" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_numbers_are_whole_on_a_narrow_terminal(width: int) -> None:
    console = Screen(file=io.StringIO(), width=width)
    progress = LiveProgress(console, "mine-1", 24, lambda params: 14)
    progress.started(TrialStarted(0, {f"grpo.some_parameter_{i}": i / 7 for i in range(20)}, False, {"running": 1}))
    progress.epoch(result(0, 3, 2.5))
    console.print(progress._table())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    header, row = next((line, lines[i + 1]) for i, line in enumerate(lines) if line.startswith("trial  stage"))
    assert header.split()[:5] == ["trial", "stage", "epoch", "val_loss", "curve"] and "parameters" in header
    assert row.split()[:4] == ["0", "grpo", "3/14", "2.5000"] and "…" in row
    assert len(header) <= width and len(row) <= width


def test_parameters_on_one_line() -> None:
    assert brief_params(PARAMS) == "grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft"


def test_total_epochs_and_time_left_are_shown_once_they_are_known() -> None:
    console = Screen(file=io.StringIO(), width=160, force_terminal=True)
    progress = LiveProgress(console, "mine-1", 4, lambda params: 14)
    progress.started(TrialStarted(0, PARAMS, False, {"running": 1}))
    plain = Screen(file=io.StringIO(), width=160)
    plain.print(progress._table())
    for step in range(1, 5):
        progress.epoch(result(0, step, 2.5))
    plain.print(progress._table())
    assert isinstance(plain.file, io.StringIO)
    before, after = plain.file.getvalue().split("mine-1  ")[1:]
    assert "waiting for the first epoch" in before and "left" not in before
    assert "4/14" in after and re.search(r"about \d+:\d\d:\d\d left", after) and "waiting for" not in after


def test_the_time_left_follows_from_measured_epochs() -> None:
    pace = Pace()
    assert pace.epochs_left(2) is None
    for number in range(2):
        pace.started(number, 10)
    assert pace.seconds_left(2) is None, "nothing is measured"
    for step in range(1, 5):
        pace.epoch(0, step, 5.0, 100.0 + 2.0 * step)
        pace.epoch(1, step, 5.0, 100.0 + 2.0 * step)
    # The first epochs took 5 s by their own clock, the others 2 s: 22 s for 8 epochs. 12 epochs are left of these, and
    # 20 of two more trials, two at a time.
    assert pace.seconds_left(2) == pytest.approx(22 / 8 * (12 + 20) / 2)
    assert pace.seconds_left(0) == pytest.approx(22 / 8 * 6), "each of two trials has six epochs"
    assert pace.seconds_left(None) is None, "nobody knows how many will come"
    assert (pace.epochs_done, pace.epochs_left(2), pace.epochs_left(None)) == (8, 32, None)
    pace.ended(0)
    assert pace.seconds_left(2) == pytest.approx(22 / 8 * (6 + 2 * 4) / 2), "a trial ends after four epochs"
    assert pace.seconds_left(0) == pytest.approx(22 / 8 * 6), "the running one cannot be divided"
    pace.started(1, 10)
    assert (pace.epochs_done, pace.epochs_left(2)) == (8, 6 + 2 * 4), "handed out again, it goes on from its epoch"
    earlier = Pace([6, 10])
    assert (earlier.epochs_done, earlier.epochs_left(3)) == (16, 3 * 8), "trials of an earlier driver count"


def test_a_curve_between_its_own_extremes() -> None:
    assert sparkline([4.0, 3.0, 2.5, 2.0], 10) == "█▅▃▁"
    assert sparkline([1.0, 1.0], 10) == "▁▁" and sparkline([], 10) == ""
    assert sparkline([float(value) for value in range(100)], 5) == "▁▃▅▆█", "a long one is thinned out, not cut"
    assert sparkline([2.0, float("nan"), 1.0, float("inf")], 10) == "█x▁x"


def test_the_live_table_has_each_trials_curve_and_all_epochs_at_80_columns() -> None:
    console = Screen(file=io.StringIO(), width=80)
    progress = LiveProgress(Screen(file=io.StringIO(), force_terminal=True), "mine-1", 24, lambda params: 14, [14, 3])
    for number in range(2):
        progress.started(TrialStarted(number, PARAMS, False, {"complete": 1, "pruned": 1, "running": 2}))
        for step, value in enumerate((4.0, 3.0, 2.5), start=1):
            progress.epoch(result(number, step, value, verdicts=(Verdict.KL_DOMINATED,)))
    console.print(progress._table())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert "23 of about 215 epochs" in lines[0], "17 of those that ended, 22 to go of these, and 20 times 8.5"
    assert sum("█▃▁" in line for line in lines) == 2 and max(map(len, lines)) <= 80


def test_what_is_waited_for_is_said_again_while_it_lasts() -> None:
    said: list[str] = []
    with Waiting(said.append, "starting Ray", seconds=0.02) as waiting:
        while len(said) < 3:
            time.sleep(0.005)
        waiting.end()
    assert said[0] == "starting Ray ..." and said[1] == "still starting Ray: 0 s"
    count = len(said)
    time.sleep(0.1)
    assert len(said) == count, "nothing after its end"


def test_the_log_gets_each_event_with_its_time(tmp_path: Path) -> None:
    file = tmp_path / "run.log"
    with file.open("w") as stream, logging_to(stream.fileno()):
        observer = EventLog(lambda params: 14)
        observer.started(TrialStarted(0, PARAMS, False, {"running": 1}))
        observer.epoch(result(0, 3, 2.5))
        failed = summary(0, TrialState.FAIL, last_step=3, standing=Standing(), reason="out of\x1b[2Jmemory")
        observer.ended(TrialEnded(failed, None, {"failed": 1}))
    observer.started(TrialStarted(1, PARAMS, False, {"running": 1}))
    lines = file.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO trial 0 ", line) for line in lines) and len(lines) == 3
    assert (
        "grpo epoch 3/14 val_loss 2.5000" in lines[1] and "\x1b" not in lines[2] and "after epoch 3 (out of" in lines[2]
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_line_that_the_log_cannot_hold_is_lost_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with Path("/dev/full").open("w") as stream, logging_to(stream.fileno()):
        logging.getLogger("sweep.driver").warning("cannot say that this driver lives")
    assert capfd.readouterr() == ("", "")
