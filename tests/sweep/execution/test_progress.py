"""What a person sees while trials run."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.progress import LiveProgress
from sweep.terminal.words import brief_params
from tests.sweep.execution.test_coordinator import result

PARAMS = {"grpo.lr": 5e-05, "grpo.kl_beta": 0.1, "reward.mode": "hard_plus_soft"}


def follow(console: Console) -> LiveProgress:
    progress = LiveProgress(console, "mine-1", 24)
    with progress:
        progress.started(TrialStarted(0, PARAMS, False, {"running": 1}))
        progress.epoch(result(0, 3, 2.5))
        progress.started(TrialStarted(1, PARAMS, True, {"running": 2}))
        progress.epoch(result(1, 3, 7.5))
        progress.ended(TrialEnded(0, "complete", 2.5, "", 2.5, {"complete": 1, "running": 1}))
    return progress


def test_a_line_per_event_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    follow(Console(file=stream, width=160))
    lines = stream.getvalue().splitlines()
    assert [line.split("] ")[1] for line in lines] == [
        "trial   0 starts  grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft",
        "trial   1 continues  grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft",
        "trial   0 complete  val_loss 2.5000 at epoch 3",
    ]


def test_the_live_table_shows_running_trials_and_the_best_value() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    progress = follow(console)
    plain = Console(file=io.StringIO(), width=160)
    plain.print(progress._table())
    assert isinstance(plain.file, io.StringIO)
    text = plain.file.getvalue()
    assert "1/24 trials ended" in text and "1 complete  1 running" in text and "best val_loss 2.5000" in text
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
