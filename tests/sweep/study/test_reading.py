"""Reading a study: whoever writes to it, whatever stands beside it, and without a trace."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sweep.errors import StudyError
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.study import read_summaries
from sweep.study.reading import copy_database
from tests.sweep.trees import tree

DRIVER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("insert into study_user_attributes (study_id, key, value_json) values (1, 'new', '1')")
connection.commit()
print("up", flush=True)
sys.stdin.read()
"""
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("pragma wal_autocheckpoint=3")  # so that the database itself changes all the time, too
value = 0
print("up", flush=True)
while True:
    value += 1
    connection.execute("begin")
    connection.execute("update pair set a = ?", (value,))
    connection.execute("update pair set b = ?", (value,))
    connection.execute("commit")
"""


@pytest.fixture
def study(good_run: RunPaths, tmp_path: Path) -> Path:
    """A closed study: one file."""
    file = tmp_path / "run" / "study.db"
    file.parent.mkdir()
    copy_database(good_run.study_file.local(), file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    assert list(file.parent.iterdir()) == [file]
    return file


@contextmanager
def closed(study: Path) -> Iterator[None]:
    yield


@contextmanager
def open_elsewhere(study: Path) -> Iterator[None]:
    """A driver is connected, and its last change is in the write-ahead log alone."""
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(study)], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    try:
        assert driver.stdout is not None and driver.stdout.readline()
        yield
    finally:
        driver.kill()
        driver.communicate()


@contextmanager
def left_by_a_kill(study: Path) -> Iterator[None]:
    """The same after the driver's death: both files beside the database are left."""
    with open_elsewhere(study):
        pass
    assert {file.name for file in study.parent.iterdir()} == {"study.db", "study.db-wal", "study.db-shm"}
    yield


@contextmanager
def copied_without_shm(study: Path) -> Iterator[None]:
    with left_by_a_kill(study):
        study.with_name("study.db-shm").unlink()
        yield


@contextmanager
def with_an_old_shm(study: Path) -> Iterator[None]:
    """SQLite would make the other file."""
    with left_by_a_kill(study), closing(sqlite3.connect(study)) as connection:
        connection.execute("delete from study_user_attributes where key = 'new'")
        connection.commit()
        old = study.with_name("study.db-shm").read_bytes()
    study.with_name("study.db-shm").write_bytes(old)
    assert not study.with_name("study.db-wal").exists()
    yield


STATES: list[Callable[[Path], object]] = [closed, open_elsewhere, left_by_a_kill, copied_without_shm, with_an_old_shm]


@pytest.mark.parametrize("state", STATES)
def test_a_study_is_read_whole_and_nothing_changes(state: Callable[[Path], object], study: Path) -> None:
    with state(study):  # type: ignore[attr-defined]
        before = tree(study.parent)
        assert [row.is_complete for row in read_summaries(sqlite_url(study), "mine")] == [True]
        copy_database(study, study.parent.parent / "copy.db")
        assert tree(study.parent) == before
    with closing(sqlite3.connect(study.parent.parent / "copy.db")) as connection:
        (found,) = connection.execute("select count(*) from study_user_attributes where key = 'new'").fetchone()
    assert found == (state not in (closed, with_an_old_shm)), "what is in the write-ahead log counts"


def test_while_a_driver_writes_a_copy_is_of_one_moment(tmp_path: Path) -> None:
    """Two columns that every transaction makes equal; the writer checkpoints after every third page."""
    study = tmp_path / "study.db"
    with closing(sqlite3.connect(study)) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table pair (a, b)")
        connection.execute("insert into pair values (0, 0)")
        connection.commit()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(study)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and writer.stdout.readline()
        seen = []
        for number in range(40):
            copy_database(study, tmp_path / f"copy-{number}.db")
            with closing(sqlite3.connect(tmp_path / f"copy-{number}.db")) as connection:
                seen.append(connection.execute("select a, b from pair").fetchone())
                assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    finally:
        writer.kill()
        writer.wait()
    assert all(a == b for a, b in seen) and len(set(seen)) > 1


@pytest.mark.parametrize("kind", ["trigger t after insert on studies begin select 1; end", "view v as select 1"])
def test_a_database_that_computes_is_refused(kind: str, study: Path) -> None:
    with closing(sqlite3.connect(study)) as connection:
        connection.execute(f"create {kind}")
        connection.commit()
    with pytest.raises(StudyError, match="no study of ours, it has the view or trigger"):
        read_summaries(sqlite_url(study), "mine")


@pytest.mark.parametrize(
    "change",
    [
        "update trials set state = 'ASLEEP'",
        "update trial_user_attributes set value_json = '[1'",
        "update trial_user_attributes set value_json = '{\"x\": 1}' where key = 'plan'",
    ],
)
def test_a_damaged_study_is_one_line(change: str, study: Path) -> None:
    with closing(sqlite3.connect(study)) as connection:
        assert connection.execute(change).rowcount != 0
        connection.commit()
    with pytest.raises(StudyError, match=r"damaged|cannot be used") as caught:
        read_summaries(sqlite_url(study), "mine")
    assert "\n" not in str(caught.value)
