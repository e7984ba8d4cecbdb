"""Files elsewhere and their working copies: what is fetched, when it is fetched again, what failures leave."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep.storage.open import open_folder
from sweep.storage.outage import is_outage
from sweep.storage.path import StoredPath
from sweep.storage.remote import RemotePath
from sweep.storage.remote_files import LAST, RemoteFiles
from tests.sweep.storage.others import Other, read, step, write, write_folder


def files_of(folder: StoredPath) -> RemoteFiles:
    assert isinstance(folder, RemotePath)
    return folder.files


def test_a_copy_is_fetched_once_until_it_is_forgotten(remote: StoredPath, other: Other) -> None:
    file = remote / "a/data.parquet"
    other.ask(write, remote.place, "a/data.parquet", "first")
    assert file.local().read_text() == "first"
    other.ask(write, remote.place, "a/data.parquet", "second")
    assert file.local().read_text() == "first" and file.read_text() == "second"
    for path in (file, file.parent):
        path.forget()
        assert file.local().read_text() == "second"
    assert sorted(path.name for path in remote.local().rglob(".*")) == [], "nothing temporary is left"
    assert other.ask(read, remote.place, "a/data.parquet") == "second"


def test_what_is_written_need_not_be_fetched(remote: StoredPath) -> None:
    step(remote / "step-0001")
    (remote / "file").write_text("1")
    files_of(remote).delete("step-0001")
    files_of(remote).delete("file")
    assert (remote / "step-0001").local().is_dir() and (remote / "file").local().read_text() == "1"


def test_a_folder_without_its_manifest_is_not_there_yet(remote: StoredPath) -> None:
    folder = step(remote / "step-0001", complete=False)
    folder.forget()
    assert (folder / "model").exists() and not (folder / LAST).exists()
    assert not folder.local().exists()
    step(folder, "weights again").forget()
    assert (folder.local() / "model").read_text() == "weights again"


def test_a_folder_that_a_killed_writer_left_is_completed(remote: StoredPath, other: Other) -> None:
    step(remote / "rce/abc", "half", complete=False).forget()
    other.ask(write_folder, remote.place, "rce/abc", "model")
    assert ((remote / "rce/abc").local() / "model").read_text() == f"model of {other.process.pid}"


@pytest.mark.parametrize("removed", ["step-0001", f"step-0001/{LAST}"])
def test_what_is_removed_while_it_is_fetched_is_not_there(
    remote: StoredPath, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    files = files_of(remote)
    folder = step(remote / "step-0001")
    folder.forget()
    get_folder = files.get_folder

    def late(key: str, target: Path) -> None:
        files.delete(removed)
        get_folder(key, target)

    monkeypatch.setattr(files, "get_folder", late)
    assert not folder.local().exists()
    assert list(remote.local().iterdir()) == []


def test_a_start_that_was_killed_takes_no_name(remote: StoredPath) -> None:
    files_of(remote).write("grpo-1/space.yaml", b"half")
    run = remote / "grpo-1"
    assert not run.is_taken("run.json") and run.exists()
    assert run.claim({"space.yaml": "whole", "run.json": "{}"})
    assert run.is_taken("run.json") and (run / "space.yaml").read_text() == "whole"


def test_content_is_stored_in_place_of_the_file(remote: StoredPath) -> None:
    """As the study's is, which is more than its file holds."""
    growing = (remote / "study.db").growing()
    growing.file.write_text("here")
    growing.upload(b"there")
    assert (remote / "study.db").read_bytes() == b"there" and growing.file.read_text() == "here"
    (remote / "study.db").forget()
    assert (remote / "study.db").local().read_bytes() == b"there" and (remote / "study.db").local() == growing.file


# Failures -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(tmp_path: Path) -> StoredPath:
    """Where the storage should have a folder, it has a file."""
    (tmp_path / "elsewhere").write_text("no folder")
    return open_folder(f"local://{tmp_path}/elsewhere")


WRITERS: dict[str, Callable[[StoredPath], Any]] = {
    "file": lambda path: path.write_json({}),
    "folder": step,
    "claim": lambda path: path.claim({"run.json": "{}"}),
    "growing": lambda path: (path.growing().file.write_text(""), path.growing().upload()),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_storage_that_fails_is_an_outage_and_leaves_no_copy(failing: StoredPath, writer: str) -> None:
    with pytest.raises(OSError) as failed:
        WRITERS[writer](failing / "one")
    assert is_outage(failed.value) and failed.value.errno == errno.EIO
    assert str(failed.value.filename).startswith(f"{failing}/one")
    if writer != "growing":
        assert list(failing.local().iterdir()) == [], "a reader would take it for what is stored"


def test_a_log_that_cannot_be_uploaded_stops_nothing(failing: StoredPath, caplog: pytest.LogCaptureFixture) -> None:
    growing = (failing / "run.log").growing()
    growing._seconds = 0.05
    with growing, growing.file.open("w") as stream:
        stream.write("line\n")
        time.sleep(0.2)
    assert "the storage failed" in caplog.text and f"{failing}/run.log" in caplog.text
