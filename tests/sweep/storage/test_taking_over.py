"""Between looking at a run and holding it, its driver may have gone on."""

from __future__ import annotations

from pathlib import Path

from sweep.driver.session import _sole_driver
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.storage.location import Location
from sweep.storage.open import open_folder
from sweep.storage.remote_files import RemoteFiles
from tests.s3 import S3Server


def test_the_study_is_that_of_the_moment_in_which_the_lock_was_had(s3: S3Server, cache: Path) -> None:
    runs = s3.folder("runs")
    RunPaths.at(f"{runs}/mine").run_file.write_json({"seen": 1})
    store = RemoteFiles.open(Location.of(runs))
    store.write("mine/study.db", b"before")
    paths = find_run(f"{runs}/mine", open_folder("runs"))
    assert paths.study_file.local().read_bytes() == b"before"
    store.write("mine/study.db", b"and after")
    with _sole_driver(paths):
        assert paths.study_file.local().read_bytes() == b"and after"
    assert not paths.lock_file.exists()
