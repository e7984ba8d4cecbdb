"""Commands that only read leave no trace, work where nothing can be written, and follow no stranger's record."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sweep.runs.paths import RunPaths
from sweep.study.reading import copy_database
from tests.sweep.commands import Command
from tests.sweep.trees import tree

READING = {
    "status": "status mine",
    "all trials": "status mine --all",
    "status as a document": "status mine --json",
    "report as text": "report mine --markdown",
    "verify": "verify mine",
    "export": "export mine --out ../taken",
    "validate": "validate mine/space.yaml --runs .",
}
CAN_WRITE_EVERYWHERE = 1  # CAP_DAC_OVERRIDE, which root gives away below
DROP_FROM_BOUNDING_SET = 24  # PR_CAPBSET_DROP
PROGRAM = """
import sys
from sweep.cli.app import main
try:
    open("mine/trace", "w")
    sys.exit("the folder can be written to")
except PermissionError:
    pass
for line in sys.argv[1:]:
    sys.argv[1:] = line.split()
    try:
        main()
    except SystemExit as end:
        print(line, "ended with", end.code, flush=True)
"""


@pytest.fixture
def runs(good_run: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one finished run, in which we stand."""
    folder = tmp_path / "runs"
    shutil.copytree(good_run.root.local(), folder / "mine", ignore=shutil.ignore_patterns("study.db*", "*.lock"))
    copy_database(good_run.study_file.local(), folder / "mine" / "study.db")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", READING)
def test_reading_leaves_no_trace(name: str, runs: Path, command: Command) -> None:
    before = tree(runs)
    code, out, error = command(*READING[name].split(), *([] if name == "validate" else ["--runs", str(runs)]))
    assert code == 0 and not error, error
    assert out
    assert tree(runs) == before


def test_where_nothing_can_be_written(runs: Path) -> None:
    """A process that may write nowhere below; for root, one without the right to write everywhere."""
    for path in [*runs.rglob("*"), runs]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = tree(runs)

    def give_up_the_right() -> None:
        if os.geteuid() == 0:
            ctypes.CDLL(None).prctl(DROP_FROM_BOUNDING_SET, CAN_WRITE_EVERYWHERE)

    lines = [f"{line} --runs ." for name, line in READING.items() if name != "validate"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines, READING["validate"]],
        capture_output=True,
        text=True,
        preexec_fn=give_up_the_right,
        timeout=120,
    )
    ended = [line for line in done.stdout.splitlines() if " ended with " in line]
    assert len(ended) == len(READING) and not done.stderr, done.stderr
    assert all(line.rpartition(" ")[2] in ("0", "None") for line in ended), ended
    assert tree(runs) == before
    assert (runs.parent / "taken" / "model.safetensors").exists()


@pytest.fixture
def foreign(runs: Path) -> Path:
    """A database of somebody's, which the run's record names. No study, and no write-ahead log."""
    database = runs.parent / "precious" / "cats.db"
    database.parent.mkdir()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table cats (name text)")
    record = json.loads((runs / "mine" / "run.json").read_text())
    (runs / "mine" / "run.json").write_text(json.dumps(record | {"storage": f"sqlite:///{database}"}))
    return database


@pytest.mark.parametrize(
    "line", ["status mine", "status mine --json", "export mine --out ../taken", "resume mine --no-dashboard"]
)
def test_a_strangers_record_leads_nowhere(line: str, runs: Path, foreign: Path, command: Command) -> None:
    before = tree(foreign.parent)
    code, _, error = command(*line.split(), "--runs", str(runs))
    assert code == 2 and error.count("\n") == 1
    assert "keeps its study outside its folder" in error and "--storage URL" in error and "cats.db" in error
    assert tree(foreign.parent) == before


def test_a_link_leads_nowhere_either(runs: Path, command: Command) -> None:
    (runs / "mine" / "study.db").rename(runs.parent / "study.db")
    (runs / "mine" / "study.db").symlink_to(runs.parent / "study.db")
    code, _, error = command("status", "mine", "--runs", str(runs))
    assert code == 2 and "is a link to" in error and error.count("\n") == 1


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_database_that_the_user_names_is_read(
    by: str, runs: Path, foreign: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "mine" / "study.db").replace(foreign)
    before, url = tree(foreign.parent), f"sqlite:///{foreign}"
    if by == "environment":
        monkeypatch.setenv("SWEEP_STORAGE", url)
    code, out, error = command("status", "mine", "--runs", str(runs), *(["--storage", url] if by == "option" else []))
    assert code == 0 and "1 complete" in out, error
    assert tree(foreign.parent) == before


def test_what_the_user_names_does_not_replace_a_study_in_the_folder(
    runs: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_STORAGE", "sqlite:////nowhere/study.db")
    code, out, _ = command("status", "mine", "--runs", str(runs))
    assert code == 0 and "1 complete" in out
