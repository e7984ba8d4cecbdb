"""The study of a run that is kept elsewhere: what is stored there is, after every change, the study."""

from __future__ import annotations

import errno
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial

from sweep.errors import RunError
from sweep.runs.paths import sqlite_url
from sweep.space import parse_space
from sweep.storage.lease import Lease
from sweep.storage.location import Location
from sweep.storage.open import open_folder
from sweep.storage.outage import is_outage
from sweep.storage.remote_files import RemoteFiles
from sweep.storage.snapshots import StudySnapshots
from sweep.study import NoTrial, StudyOwner, TrialState
from tests.s3 import S3Server
from tests.sweep.storage.others import take_over
from tests.sweep.study.conftest import SPACE, run_trial

PATIENCE = 60.0  # far more than a busy machine keeps a beat waiting


class Run:
    """A driver's hold on a run that is kept elsewhere, and what others see of it."""

    def __init__(self, uri: str, seen: Path, *, beat: float = 0.1, patience: float = PATIENCE) -> None:
        study = open_folder(uri) / "study.db"
        self.file = study.local()
        self.store = RemoteFiles.open(Location.of(uri))
        space = parse_space(SPACE + "budget: {trials: 2}\n", "fake.yaml")
        self.owner = StudyOwner.open(sqlite_url(self.file), "fake", space)
        self.lease = Lease(self.store, "driver.lock", beat, patience, 0.1).acquire()
        self.keep = StudySnapshots(study.growing(), self.lease)
        self._seen = seen

    def stored(self) -> bytes | None:
        return self.store.read("study.db")

    def trials_stored(self) -> list[FrozenTrial]:
        """As a process elsewhere finds them."""
        content = self.stored()
        assert content is not None
        self._seen.mkdir(exist_ok=True)
        for file in self._seen.iterdir():
            file.unlink()
        (self._seen / "study.db").write_bytes(content)
        with closing(sqlite3.connect(self._seen / "study.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return optuna.load_study(study_name="fake", storage=sqlite_url(self._seen / "study.db")).trials

    def trials(self) -> list[FrozenTrial]:
        return self.owner._trials()

    def close(self) -> None:
        self.keep.close()
        self.owner.close()
        self.lease.release()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Run]:
    run = Run(f"local://{tmp_path}/elsewhere", tmp_path / "seen")
    yield run
    run.close()


def finished(run: Run) -> int:
    """Run all trials, looking after each change; gives their number."""
    looked = 0

    def look() -> None:
        nonlocal looked
        run.keep()
        assert run.trials_stored() == run.trials()
        looked += 1

    look()
    while not isinstance(asked := run.owner.ask(), NoTrial):
        look()
        run.owner.note_worker(asked.number, f"pid {asked.number}")
        look()
        run_trial(run.owner, asked, look)
        look()
    assert looked > 4 * len(run.trials())
    return len(run.trials())


def test_after_each_change_the_study_is_stored(local: Run) -> None:
    assert local.stored() is None
    assert finished(local) == 2
    assert {trial.state for trial in local.trials_stored()} <= {TrialState.COMPLETE, TrialState.PRUNED}
    with closing(sqlite3.connect(local.file)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",), "there is a log besides the file"


def test_an_object_store_too(s3: S3Server, tmp_path: Path) -> None:
    run = Run(s3.folder(), tmp_path / "seen")
    asked = run.owner.ask()
    assert not isinstance(asked, NoTrial)
    for value in (0.5, 0.4):
        run.owner.report(asked.number, 1 if value == 0.5 else 2, value)
        run.keep()
        assert run.trials_stored() == run.trials()
    run.close()


def test_a_killed_driver_is_followed_with_what_is_stored(local: Run, tmp_path: Path) -> None:
    asked = local.owner.ask()
    assert not isinstance(asked, NoTrial)
    local.owner.report(asked.number, 1, 0.7)
    local.keep()
    local.owner.report(asked.number, 2, 0.6)  # nobody has acted on it
    local.close()
    follower = Run(f"local://{tmp_path}/elsewhere", tmp_path / "seen")
    assert follower.file != local.file
    (adopted,) = follower.owner.adopt()
    assert (adopted.number, adopted.params) == (asked.number, asked.params)
    assert follower.trials()[0].intermediate_values == {1: 0.7}
    run_trial(follower.owner, adopted, follower.keep)
    follower.keep()
    assert follower.trials_stored() == follower.trials()
    follower.close()


def test_nothing_is_stored_when_nothing_changed(local: Run, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere/study.db"

    def written() -> tuple[int, int]:
        return there.stat().st_ino, there.stat().st_mtime_ns

    local.keep()
    before = written()
    for _ in range(3):
        local.keep()
        local.owner.summaries()
        local.owner.best()
    assert written() == before
    asked = local.owner.ask()
    assert not isinstance(asked, NoTrial) and written() == before, "not before it is asked to"
    local.keep()
    assert written() != before


def test_who_lost_the_lease_stores_nothing(local: Run) -> None:
    local.owner.ask()
    local.keep()
    before = local.stored()
    take_over(local.lease, json.dumps({"token": "another"}).encode())
    local.keep()  # there is nothing to store
    local.owner.report(0, 1, 0.5)
    for _ in range(2):
        with pytest.raises(RunError, match="this driver lost its hold on the run") as lost:
            local.keep()
        assert "\n" not in str(lost.value)
    assert local.stored() == before


@pytest.mark.slow
def test_who_could_not_reach_the_storage_for_long_stores_nothing(s3: S3Server, tmp_path: Path) -> None:
    """What hangs may go through again when somebody else has taken over."""
    run = Run(s3.folder(), tmp_path / "seen", patience=3.0)
    run.owner.ask()
    run.keep()
    before = run.stored()
    s3.freeze()
    try:
        time.sleep(3.2)
    finally:
        s3.thaw()
    run.owner.report(0, 1, 0.5)
    with pytest.raises(RunError, match="its storage could not be reached for long"):
        run.keep()
    assert run.stored() == before
    run.close()


def test_what_could_not_be_stored_is_stored_later(tmp_path: Path) -> None:
    # No beat comes while the folder is moved: one that finds no file takes the lease for lost.
    local = Run(f"local://{tmp_path}/elsewhere", tmp_path / "seen", beat=PATIENCE)
    local.keep()
    local.owner.ask()
    there = tmp_path / "elsewhere"
    there.rename(tmp_path / "away")
    there.write_text("no folder")
    with pytest.raises(OSError) as failed:
        local.keep()
    assert is_outage(failed.value) and failed.value.errno == errno.EIO
    assert failed.value.filename == f"local://{tmp_path}/elsewhere/study.db"
    there.unlink()
    (tmp_path / "away").rename(there)
    assert local.trials_stored() != local.trials()
    local.keep()
    assert local.trials_stored() == local.trials()
    local.close()
