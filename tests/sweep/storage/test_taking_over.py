"""Between looking at a run and holding it, its driver may have gone on."""

from __future__ import annotations

from pathlib import Path

from sweep.storage.files import write_json

from sweep.driver.run import _sole_driver
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.storage import mirror
from sweep.storage.location import Location
from sweep.storage.remote import RemoteStore
from tests.s3 import S3Server


def test_the_study_is_that_of_the_moment_in_which_the_lock_was_had(s3: S3Server, cache: Path) -> None:
    runs = s3.folder("runs")
    write_json(RunPaths(mirror.folder_of(runs) / "mine").run_file, {"seen": 1})
    store = RemoteStore.open(Location.of(runs))
    store.write("mine/study.db", b"before")
    paths = find_run(f"{runs}/mine", Path("runs"))
    assert paths.study_file.read_bytes() == b"before"
    store.write("mine/study.db", b"and after")
    with _sole_driver(paths):
        assert paths.study_file.read_bytes() == b"and after"
    assert not mirror.exists(paths.lock_file)
