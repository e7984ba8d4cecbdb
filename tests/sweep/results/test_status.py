"""How a run stands, in words and as a document."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from optuna.trial import TrialState

from sweep.report.status import print_status, status_lines
from sweep.results.evaluations import make_main
from sweep.results.run_state import RunState
from sweep.results.status import RunStatus, read_status, seconds_left, status_document
from sweep.runs.driver import DriverRecord, DriverState, End, Phase
from sweep.runs.paths import RunPaths
from sweep.study.ranking import rank
from sweep.terminal.console import Screen
from tests.sweep.report.test_trials import summary
from tests.sweep.runs.test_driver import record

COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
ROWS = rank([summary(0), summary(1, PRUNED), summary(2, RUNNING, last_step=10), summary(3, RUNNING, last_step=None)])


def status(state: RunState, driver: DriverRecord | None, alive: bool = False, **changes: Any) -> RunStatus:
    found = RunStatus(
        paths=RunPaths.at("runs/mine"),
        state=state,
        driver=DriverState(alive, True, driver, 2.0),
        planned=24,
        rows=ROWS,
        trains=alive,
        seconds_left=None,
        evaluation=None,
        verdict=None,
    )
    return replace(found, **changes)


def training(**changes: Any) -> DriverRecord:
    return record(phase=Phase.TRAINING, unit="trials", total=24, epochs=30, **changes)


def test_in_words() -> None:
    """The driver's state first, then the trials. What no driver trains is interrupted, not running."""
    assert status_lines(status(RunState.RUNNING, training(), alive=True, seconds_left=245.0)) == [
        "mine: training; about 4 min left",
        "2 of 24 trials ended (1 complete, 1 pruned, 2 running)",
        f"driver: process {record().pid} on this machine, at work for 10 min; last seen 2 s ago",
    ]
    dead = status(RunState.DEAD, training())
    assert status_lines(dead)[:2] == [
        "mine: its driver died",
        "2 of 24 trials ended (1 complete, 2 interrupted, 1 pruned)",
    ]
    assert status_lines(dead)[2].endswith("on this machine, died after 10 min at work; last seen 2 s ago")
    answers = record(phase=Phase.EVALUATING, unit="answers", done=340, total=1260)
    assert status_lines(status(RunState.RUNNING, answers, alive=True, trains=False, seconds_left=40.0))[:2] == [
        "mine: evaluating, 340 of 1,260 answers; about 40 s left",
        "2 of 24 trials ended (1 complete, 2 interrupted, 1 pruned)",
    ]
    stopped = record(end=End.INTERRUPTED, reason="Ctrl-C")
    assert status_lines(status(RunState.INTERRUPTED, stopped))[0] == "mine: interrupted 2 s ago: Ctrl-C"
    failed = record(end=End.FAILED, reason="disk [full]")
    assert status_lines(status(RunState.FAILED, failed))[0] == "mine: failed 2 s ago: disk [full]"
    assert status_lines(status(RunState.FINISHED, record(end=End.FINISHED)))[0] == "mine: finished"
    assert status_lines(status(RunState.RUNNING, record(), alive=True, rows=[]))[:2] == [
        "mine: starting Ray",
        "no trials yet",
    ]


@pytest.mark.parametrize(
    ("changes", "rows", "left"),
    [
        ({}, ROWS, None),  # no pace yet
        ({"pace": 2.0}, ROWS, (20 + 30 + 20 * 30) / 2),  # two trials have ended: too few for a mean
        ({"pace": 2.0}, [*ROWS, summary(4, PRUNED, last_step=6)], (22 - 10 + 22 + 19 * 22) / 2),
        ({"pace": 2.0, "total": 5}, [summary(n, PRUNED, last_step=10) for n in range(5)], 0),
        ({"pace": 2.0, "total": None}, ROWS, None),  # nobody knows how many trials there will be
        ({"pace": 4.0, "phase": Phase.EVALUATING, "done": 340, "total": 1260}, ROWS, 230),
        ({"pace": 4.0, "phase": Phase.EVALUATING, "done": 1261, "total": 1260}, ROWS, 0),
        ({"phase": Phase.RANKING, "total": None}, ROWS, None),
    ],
)
def test_time_left(changes: dict[str, Any], rows: list[Any], left: float | None) -> None:
    assert seconds_left(record(**{"phase": Phase.TRAINING, "total": 24, "epochs": 30, **changes}), rows) == left


@pytest.mark.parametrize("limit", [20, None])
def test_within_80_columns_one_line_a_trial(limit: int | None) -> None:
    rows = rank([summary(number, COMPLETE if number < 500 else RUNNING) for number in range(1000)])
    console = Screen(file=io.StringIO(), width=80)
    print_status(console, status(RunState.DEAD, training(), rows=rows), limit)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 29 if limit else 1008
    assert sum(" interrupted " in line for line in lines[4:]) == (0 if limit else 500)
    assert ("and 980 more: `python -m sweep status runs/mine --all` shows all" in lines) is (limit is not None)
    assert "continue with: python -m sweep resume runs/mine" in lines


def test_the_document_has_the_documented_fields() -> None:
    """docs/watching.md lists them; programs rely on them."""
    page = (Path(__file__).parents[3] / "docs" / "watching.md").read_text()
    document = status_document(status(RunState.RUNNING, training(pace=2.0), alive=True, seconds_left=245.0))
    json.dumps(document, allow_nan=False)
    names = [*document, *document["driver"], *document["phase"], *document["best"], *document["trials"][0]]
    assert [name for name in names if f"`{name}`" not in page] == []
    assert document["trials_by_state"] == {"complete": 1, "pruned": 1, "running": 2}
    assert document["phase"]["seconds_left"] == 245 and document["driver"]["began"] == "2027-01-15T07:50:00+00:00"
    assert [row["state"] for row in document["trials"]] == ["complete", "pruned", "running", "running"]


@pytest.fixture
def run(good_run: RunPaths, tmp_path: Path) -> RunPaths:
    shutil.copytree(good_run.root.local(), tmp_path / "mine")
    return RunPaths.at(tmp_path / "mine")


def test_the_state_of_a_run_from_its_folder(run: RunPaths) -> None:
    def found() -> RunState:
        return read_status(run).state

    assert found() is RunState.INTERRUPTED, "a run of an earlier version has no driver.json"
    run.driver_file.write_text(record(end=None).model_dump_json())
    assert found() is RunState.DEAD
    for end, expected in ((End.FAILED, RunState.FAILED), (End.INTERRUPTED, RunState.INTERRUPTED)):
        run.driver_file.write_text(record(end=end).model_dump_json())
        assert found() is expected
    run.ranking_file.write_text("{}")
    assert found() is RunState.FINISHED
    with closing(sqlite3.connect(run.study_file.local())) as connection:
        connection.execute("update trials set state = 'RUNNING', datetime_complete = null")
        connection.commit()
    assert found() is RunState.INTERRUPTED, "resumed with a larger budget, and interrupted"
    with FileLock(run.lock_file.local()):
        assert found() is RunState.RUNNING, "it is evaluated again"


def test_a_lost_main_evaluation_does_not_hide_how_the_run_stands(run: RunPaths) -> None:
    make_main(run, "gone")
    found = read_status(run)
    assert found.rows and found.evaluation is None
    assert found.verdict is not None and "names the evaluation 'gone', which is gone" in found.verdict
    run.main_file.write_text("{")
    assert "damaged" in str(read_status(run).verdict)


@pytest.mark.parametrize(
    ("ranking", "verdict", "last"),
    [
        ({"verdict": {"kind": "beats_baseline", "sentence": "it beats"}}, "it beats", "verdict: it beats"),
        ({}, None, "best: trial 0 by val_loss"),  # of a version without verdicts
        ({"verdict": 3}, "damaged", "verdict cannot be read"),
    ],
)
def test_a_run_that_has_ended_shows_its_verdict(run: RunPaths, ranking: Any, verdict: str | None, last: str) -> None:
    run.ranking_file.write_json(ranking)
    found = read_status(run)
    assert found.verdict is None if verdict is None else verdict in (found.verdict or "")
    console = Screen(file=io.StringIO(), width=80)
    print_status(console, found)
    assert isinstance(console.file, io.StringIO)
    assert last in " ".join(console.file.getvalue().split())


def test_before_the_study_is_made(run: RunPaths) -> None:
    """While beams are measured, and where the driver ended before its first trial."""
    for file in run.root.local().glob("study.db*"):
        file.unlink()
    shutil.rmtree(run.trials_folder.local())
    run.driver_file.write_text(record(phase=Phase.COLLECTING).model_dump_json())
    assert read_status(run).rows == []


def test_another_budget_on_resume_counts(run: RunPaths) -> None:
    assert read_status(run).planned == 2
    run.driver_file.write_text(training().model_dump_json())
    assert read_status(run).planned == 24
