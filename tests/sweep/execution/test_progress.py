"""What a person sees while trials run."""

from __future__ import annotations

import io

import pytest
from optuna.trial import TrialState
from rich.console import Console

from selector.health import Verdict
from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.progress import LiveProgress
from sweep.study import Standing
from sweep.terminal.words import brief_params
from tests.sweep.execution.test_coordinator import result
from tests.sweep.report.test_trials import summary

PARAMS = {"grpo.lr": 5e-05, "grpo.kl_beta": 0.1, "reward.mode": "hard_plus_soft"}


def follow(console: Console) -> LiveProgress:
    progress = LiveProgress(console, "mine-1", 24)
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
    follow(Console(file=stream, width=160))
    lines = stream.getvalue().splitlines()
    assert [line.split("] ")[1] for line in lines] == [
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
    progress = LiveProgress(Console(file=stream, width=160), "mine-1", 24)
    progress.started(TrialStarted(0, PARAMS, False, {"running": 1}))
    progress.epoch(result(0, 14, 4.0))
    trial = summary(0, state, reason, last_step=14, standing=standing)
    progress.ended(TrialEnded(trial, None, {state.name.lower(): 1}))
    assert stream.getvalue().splitlines()[-1].split("] ")[1] == f"trial   0 {state.name.lower()}  {expected}"


def test_the_live_table_shows_running_trials_and_the_best_value() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    progress = follow(console)
    plain = Console(file=io.StringIO(), width=160)
    plain.print(progress._table())
    assert isinstance(plain.file, io.StringIO)
    text = plain.file.getvalue()
    assert (
        "1/24 trials ended" in text
        and "1 complete  1 running" in text
        and "best: trial 0, best val_loss 2.5000 at epoch 9 of 16" in text
    )
    assert "7.5000" in text and "reward.mode=hard_plus_soft" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_numbers_are_whole_on_a_narrow_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    progress = LiveProgress(console, "mine-1", 24)
    progress.started(TrialStarted(0, {f"grpo.some_parameter_{i}": i / 7 for i in range(20)}, False, {"running": 1}))
    progress.epoch(result(0, 3, 2.5))
    console.print(progress._table())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    header, row = next((line, lines[i + 1]) for i, line in enumerate(lines) if line.startswith("trial  stage"))
    assert header.split()[:5] == ["trial", "stage", "epoch", "val_loss", "KL"] and "parameters" in header
    assert row.split()[:4] == ["0", "grpo", "3", "2.5000"] and "…" in row
    assert len(header) <= width and len(row) <= width


def test_parameters_on_one_line() -> None:
    assert brief_params(PARAMS) == "grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft"
