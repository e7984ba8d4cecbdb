"""The trials of a run as a person reads them: one line each, and nothing lost below."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from selector.health import Verdict
from sweep.report.trials import trial_table
from sweep.study import Standing, TrialSummary
from sweep.study.ranking import rank
from sweep.terminal.console import Screen

PARAMS = {"grpo.lr": 5e-05, "grpo.kl_beta": 0.1, "reward.mode": "hard_plus_soft", "grpo.batch_size": 32}


def summary(number: int, state: TrialState = TrialState.COMPLETE, reason: str = "", **changes: object) -> TrialSummary:
    value = number / 7 if state is TrialState.COMPLETE else None
    standing = Standing((Verdict.KL_DOMINATED,), 12, number / 7, 0.973, "f" * 64)
    row = TrialSummary(
        number=number, state=state, params=PARAMS, value=value, best_value=0.5, last_step=30, reason=reason,
        configuration=number, repeat=0, key=str(number), seed=0, attempt=1, duration=1.0, standing=standing,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


def lines_of(rows: list[TrialSummary], width: int = 80, limit: int | None = None) -> list[str]:
    console = Screen(file=io.StringIO(), width=width)
    console.print(trial_table(rank(rows), "Trials", limit))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_one_line_a_trial_within_80_columns() -> None:
    rows = [summary(number) for number in range(24)]
    lines = lines_of(rows)
    assert max(map(len, lines)) <= 80
    assert len(lines) == 1 + 2 + 24 + 1, "title, headings, trials, and the best trial's parameters"
    assert lines[4].split()[:8] == ["2", "1", "complete", "0.1429", "12", "of", "30", "97%"]
    assert "kl_dominated" in lines[4] and lines[4].endswith("…"), "only parameters are cut"
    assert lines[-1] == "trial 0: grpo.lr=5e-05 kl_beta=0.1 reward.mode=hard_plus_soft batch_size=32"


def test_reasons_stand_once_with_their_trials() -> None:
    rows = [summary(number, TrialState.PRUNED, "median pruner") for number in range(12)]
    rows += [summary(12, TrialState.FAIL, "no [red]memory[/red] [/]"), summary(13, TrialState.RUNNING, value=None)]
    lines = lines_of(rows)
    assert "pruned, median pruner: trials 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more" in lines
    assert "fail, no [red]memory[/red] [/]: trial 12" in lines, "what others wrote is no markup"
    assert [line.split()[2:4] for line in lines if line.startswith("   -    13")] == [["running", "(0.5000)"]]


def test_a_limit_leaves_out_the_end_of_table_and_reasons() -> None:
    rows = [summary(number, TrialState.FAIL, f"reason {number}") for number in range(30)]
    lines = lines_of(rows, limit=20)
    assert sum("fail, reason" in line for line in lines) == 20 and lines[-1] == "and 10 other reasons"
    assert len(lines) == 1 + 2 + 20 + 20 + 1
    assert sum("fail, reason" in line for line in lines_of(rows)) == 30


def test_repeats_have_their_mean_and_spread() -> None:
    rows = [summary(number, key="one") for number in (7, 14)] + [summary(21)]
    assert "over seeds, val_loss 1.5000 ±0.7071 (2): trials 7, 14" in lines_of(rows)


@pytest.mark.parametrize("width", [30, 60, 160])
def test_any_width_is_printed(width: int) -> None:
    verdicts = Standing(tuple(Verdict), 12, 0.5, 1.0)
    lines = lines_of([summary(3, standing=verdicts), summary(4, TrialState.FAIL, "reason")], width)
    assert max(map(len, lines)) <= width and "4" in "".join(lines)
    if width > 80:
        assert any(line.endswith("batch_size=32") and "97%" not in line for line in lines), "parameters are whole"


def test_the_value_of_a_running_trial_stands_beside_its_own_epoch() -> None:
    row = summary(3, TrialState.RUNNING, standing=Standing(), best_value=0.5, best_value_step=4, last_step=9)
    (line,) = [line for line in lines_of([row]) if " running " in line]
    assert "(0.5000)" in line and "4 of 9" in line
