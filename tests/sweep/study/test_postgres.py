"""A study on a real PostgreSQL server: sweeps, kills, two runs, a server that goes away; and no password shown."""

from __future__ import annotations

import signal
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from sweep.driver.create import NewRun, create_run
from sweep.errors import StudyError
from sweep.runs.record import read_record
from sweep.storage.local import stored_at
from sweep.study import StudyOwner, has_study, read_summaries
from sweep.study.reading import _readable
from sweep.study.storage import open_storage, without_password
from tests.sweep.commands import Command, call, finish, start, wait_for, write_space
from tests.sweep.plans import plan_of_space
from tests.sweep.study.postgres import Server, server

SHORT = {"concurrency": 1, "budget": {"trials": 2}}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


def trials(url: str, name: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=url).trials


def epochs_in(url: str, name: str) -> int:
    try:
        return sum(len(trial.intermediate_values) for trial in trials(url, name))
    except KeyError:
        return 0


def test_a_study_is_kept_and_found_again(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create("kept")
    space = plan_of_space(write_space(tmp_path)).space
    owner = StudyOwner.open(url, "one", space)
    first = owner.ask()
    owner.report(0, 1, float("nan"))
    owner.close()
    again = StudyOwner.open(url, "one", space)
    (adopted,) = again.adopt()
    assert adopted.params == first.params and adopted.attempt == 2
    again.complete(0, 0.25)
    assert [row.value for row in read_summaries(url, "one")] == [0.25]
    assert has_study(url, "one") and not has_study(url, "two")


@pytest.mark.filterwarnings("ignore")  # of Optuna's, which its owner silences for the process, not for its thread
def test_runs_that_begin_at_the_same_moment_in_an_empty_database(postgres: Server, tmp_path: Path) -> None:
    space = plan_of_space(write_space(tmp_path)).space
    for attempt in range(3):
        url, failed = postgres.create(f"race-{attempt}"), []
        barrier = threading.Barrier(4)

        def begin(
            number: int, url: str = url, failed: list[Exception] = failed, barrier: threading.Barrier = barrier
        ) -> None:
            barrier.wait()
            try:
                StudyOwner.open(url, f"run-{number}", space).ask()
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert not failed
        assert [len(trials(url, f"run-{number}")) for number in range(4)] == [1] * 4


def test_reading_makes_no_tables_and_may_not_write(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create("empty")
    with pytest.raises(StudyError, match="has no study 'one'"):
        read_summaries(url, "one")
    assert sqlalchemy.inspect(sqlalchemy.create_engine(url)).get_table_names() == []
    StudyOwner.open(url, "one", plan_of_space(write_space(tmp_path)).space)
    with _readable(url) as storage, pytest.raises(optuna.exceptions.StorageInternalError):
        storage.set_study_user_attr(storage.get_study_id_from_name("one"), "key", 1)


def test_a_run_keeps_its_study_where_its_owner_said(
    postgres: Server, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks at the run names the database. Its password need not stand in the run's record for that."""
    url = postgres.create("named")
    plan = plan_of_space(write_space(tmp_path, storage=url))
    paths = create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))
    assert read_record(paths).storage_url(paths) == url, "the driver that made it was told"
    StudyOwner.open(url, "mine", plan.space).close()
    code, _, error = command("status", paths.shown)
    assert code == 2 and "keeps its study outside its folder, in postgresql+psycopg://127.0.0.1" in error
    assert "s3cret" not in error and "sweeper" not in error
    monkeypatch.setenv("SWEEP_STORAGE", url)
    code, out, error = command("status", paths.shown)
    assert code == 0 and "no trials yet" in out, error


def test_a_server_that_was_restarted_between_two_questions_is_no_error(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create("restarted")
    owner = StudyOwner.open(url, "one", plan_of_space(write_space(tmp_path)).space)
    owner.ask()
    postgres.stop()
    postgres.start()
    owner.report(0, 1, 0.5)
    assert owner.complete(0, 0.5)


def test_refusals_are_one_line_without_the_password(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "wr0ng%40secret"
    for url in (
        postgres.url("no-such-database"),
        postgres.url(password="wr0ng@secret"),
        f"postgresql+psycopg://sweeper:{wrong}@127.0.0.1:9/none",
        f"postgresql//sweeper:{wrong}@127.0.0.1/none",
    ):
        with pytest.raises(StudyError) as refused:
            open_storage(url)
        assert "\n" not in str(refused.value) and "***" in str(refused.value)
        assert not [word for word in ("s3cret", "wr0ng", "@word", "secret") if word in str(refused.value)]
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StudyError, match=r"psycopg is not installed; `pip install 'demonstration-sweep\[postgres\]'`"):
        open_storage(postgres.url())
    with pytest.raises(StudyError, match=r"write postgresql\+psycopg://"):
        open_storage(postgres.url().replace("+psycopg", "+pg8000"))


def test_the_password_is_for_the_owner_of_the_run_alone(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create("private")
    plan = plan_of_space(write_space(tmp_path, storage=url))
    paths = create_run(plan, NewRun(stored_at(tmp_path / "runs"), "mine"))
    for file in paths.root.local().rglob("*"):
        if file.is_file() and "s3cret" in file.read_text(errors="replace"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert "s3cret" not in without_password(url)


@pytest.mark.long
def test_a_sweep_killed_and_a_server_lost_end_as_an_undisturbed_one(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs in one database; one of them is killed, then loses its server, and is resumed after both."""
    url = postgres.create("sweeps")
    monkeypatch.setenv("SWEEP_STORAGE", url)
    space = str(write_space(tmp_path, storage=url, **SHORT))
    output = finish(start(tmp_path, "run", space, "--name", "whole"))
    assert "run folder: runs/whole" in output and "s3cret" not in output
    again = finish(start(tmp_path, "run", space, "--name", "whole", "--runs", "elsewhere"))
    assert "has a study 'whole' already" in again

    process = start(tmp_path, "run", space, "--name", "hurt")
    wait_for(lambda: epochs_in(url, "hurt") >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    process = start(tmp_path, "resume", "hurt")
    wait_for(lambda: epochs_in(url, "hurt") >= 7)
    postgres.stop()
    output = finish(process)
    assert process.returncode == 2 and "s3cret" not in output
    (line,) = [line for line in output.splitlines() if "error" in line.lower()]
    assert line.startswith("error: run hurt stopped: OperationalError: ") and "`python -m sweep resume" in line
    output = finish(start(tmp_path, "status", "hurt"))
    assert output.startswith("error: storage postgresql+psycopg://sweeper:***@127.0.0.1") and output.count("\n") == 1
    postgres.start()
    process = start(tmp_path, "resume", "hurt")
    output = finish(process)
    assert process.returncode == 0, output
    first, second = trials(url, "whole"), trials(url, "hurt")
    assert [trial.state for trial in first].count(TrialState.COMPLETE) > 0
    assert [(t.number, t.params, t.state, t.intermediate_values, t.value) for t in first] == [
        (t.number, t.params, t.state, t.intermediate_values, t.value) for t in second
    ]
    run = tmp_path / "runs" / "hurt"
    for file in run.rglob("*"):
        if file.is_file() and b"s3cret" in file.read_bytes():
            assert file.name in ("run.json", "space.yaml") and stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_status_and_validate_show_no_password(
    postgres: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.create("shown")
    file = write_space(tmp_path, storage=url)
    StudyOwner.open(url, "mine", plan_of_space(file).space)
    create_run(plan_of_space(file), NewRun(stored_at(tmp_path / "runs"), "mine2"))
    monkeypatch.setattr(sys, "argv", ["sweep", "validate", str(file)])
    from sweep.cli.app import main

    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code and "s3cret" not in capsys.readouterr().out
    code, out, error = call(capsys, monkeypatch, "status", str(tmp_path / "runs" / "mine2"), "--storage", url)
    assert code == 2 and "s3cret" not in out + error and "no study 'mine2'" in error
