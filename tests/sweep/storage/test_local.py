"""Folders of this machine: who may read what is written, what failures leave, and that nothing else is touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock

from sweep.storage.local import stored_at
from sweep.storage.open import open_folder, open_run_folder
from tests.sweep.storage.others import step


@pytest.fixture(autouse=True)
def umask() -> object:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_addresses_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, str(tmp_path), tmp_path.as_uri()):
        assert open_folder(place) == open_run_folder(place) == stored_at(tmp_path)
    runs = open_folder("runs")
    assert runs.shown == "runs" and runs.place == str(tmp_path / "runs") and runs.local() == Path("runs")
    assert not runs.is_remote and not runs.lacks_bucket() and isinstance((runs / "driver.lock").lock(), FileLock)
    assert not cache.exists(), "there are no copies"


def test_files_are_for_whom_umask_lets_in_or_for_the_owner_alone(tmp_path: Path) -> None:
    folder = stored_at(tmp_path)
    (folder / "public").write_text("1")
    (folder / "private").write_json(1, private=True)
    step(folder / "step")
    assert (folder / "run").claim({"space.yaml": "name: x", "run.json": "{}"})
    assert [mode(tmp_path / name) for name in ("public", "private", "step", "step/model")] == [
        0o644,
        0o600,
        0o755,
        0o644,
    ]
    assert [mode(tmp_path / "run" / name) for name in ("space.yaml", "run.json")] == [0o600] * 2


def test_errors_name_the_file_and_not_its_temporary_one(tmp_path: Path) -> None:
    folder = stored_at(tmp_path)
    (folder / "file").write_text("1")
    for write in (lambda: step(folder / "file"), lambda: (folder / "file/inner").write_text("1")):
        with pytest.raises(OSError) as failed:
            write()
        assert failed.value.filename == str(tmp_path / "file")
    with pytest.raises(OSError) as failed, (folder / "other").replacing():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert failed.value.filename == str(tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_errors_name_the_file_also_where_its_temporary_one_cannot_be_made(tmp_path: Path) -> None:
    """Which needs a longer name, or stands in what is a file. Permissions do not stop root, who may run this."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as long:
        stored_at(tmp_path / ("x" * 250)).write_text("1")
    assert long.value.errno == errno.ENAMETOOLONG and long.value.filename == str(tmp_path / ("x" * 250))
    with pytest.raises(NotADirectoryError) as inner, stored_at(tmp_path / "file" / "folder").new_folder():
        pass
    assert inner.value.filename == str(tmp_path / "file" / "folder")


@pytest.mark.parametrize("taken", ["file", "folder", "empty"])
def test_a_name_that_anything_has_cannot_be_claimed(tmp_path: Path, taken: str) -> None:
    own = tmp_path / "own"
    if taken == "file":
        own.write_text("1")
    else:
        own.mkdir()
        if taken == "folder":
            (own / "mine").write_text("1")
    handle = stored_at(own)
    assert handle.is_taken("run.json")
    assert handle.claim({"run.json": "{}"}) == (taken == "empty"), "an empty folder is replaced"
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
