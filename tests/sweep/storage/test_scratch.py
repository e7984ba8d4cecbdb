"""Which path stands for what, where scratch is and when it goes, and that paths of this machine stay what they were."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from filelock import FileLock, Timeout
from sweep.storage.files import remove_folder, write_json

from sweep.errors import RunError
from sweep.storage import mirror
from sweep.storage.lease import Lease
from sweep.storage.scratch import CACHE, cache_folder
from tests.s3 import S3Server
from tests.sweep.storage.others import Other, others, read, scratch, step, take, write


def test_a_run_stands_in_its_folder_of_runs(uri: str, other: Other) -> None:
    run = mirror.run_folder_of(f"{uri}/grpo-1/")
    assert run == mirror.folder_of(uri) / "grpo-1"
    assert mirror.shown(run) == f"{uri}/grpo-1" == mirror.place_of(run)
    assert mirror.run_folder_of(mirror.place_of(run)) == run
    assert mirror.is_mirrored(run) and mirror.is_mirrored(run.parent) and not mirror.is_mirrored(run.parent.parent)
    with pytest.raises(RunError, match="is not a run's folder; name the folder in it"):
        mirror.run_folder_of("s3://bucket")


def test_keys_in_an_address_reach_other_processes_but_no_screen(s3: S3Server, other: Other) -> None:
    address = s3.address("runs")
    root = mirror.folder_of(address)
    write_json(root / "run.json", 1)
    assert "testing" in str(mirror.place_of(root)) and "testing" not in mirror.shown(root)
    assert other.ask(read, str(mirror.place_of(root)), "run.json") == "1\n"
    assert "testing" not in str(root)


def test_a_path_that_is_resolved_still_stands_for_it(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "real").mkdir()
    cache.symlink_to(tmp_path / "real")
    root = mirror.folder_of(f"memory://{uuid4().hex}")
    assert mirror.is_mirrored((root / "study.db").resolve())


def test_threads_share_one_scratch(tmp_path: Path) -> None:
    found: list[Path] = []
    uri = f"local://{tmp_path}/elsewhere"
    threads = [threading.Thread(target=lambda: found.append(mirror.folder_of(uri))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_a_lock_is_a_lease(uri: str, other: Other) -> None:
    root = mirror.folder_of(uri)
    lock = mirror.lock(root / "grpo-1/driver.lock")
    assert isinstance(lock, Lease)
    assert other.ask(take, uri.removeprefix("local://"), "grpo-1/driver.lock", 0.1, 2.0, 0.1)
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)
    other.kill()
    with lock:
        assert mirror.exists(root / "grpo-1/driver.lock") and not (root / "grpo-1/driver.lock").exists()
    assert not mirror.exists(root / "grpo-1/driver.lock")


# Scratch --------------------------------------------------------------------------------------------------------------


def test_scratch_of_the_killed_goes_and_of_the_living_stays(tmp_path: Path, cache: Path) -> None:
    uri = f"local://{tmp_path}/elsewhere"
    with others(2) as (killed, living):
        folders = [Path(one.ask(scratch, uri)) for one in (killed, living)]
        for one in (killed, living):
            one.ask(write, uri, "file", "content")
        killed.kill()
        (cache / "mirrors" / "stray").write_text("no folder")
        mine = [mirror.folder_of(uri), mirror.folder_of(f"{uri}/deeper")]
        assert [folder.parent.exists() for folder in folders] == [False, True]
        assert all(folder.exists() for folder in mine)
        assert living.ask(read, uri, "file") == "content"
    mirror.folder_of(f"{uri}/and/deeper")
    assert not folders[1].exists() and all(folder.exists() for folder in mine)


@pytest.mark.slow
def test_scratch_of_a_process_that_ends_goes_with_it(tmp_path: Path, cache: Path) -> None:
    code = (
        "import sys; from sweep.storage import mirror; from sweep.runs.paths import write_json\n"
        "write_json(mirror.folder_of(sys.argv[1]) / 'run.json', 1); print(mirror.folder_of(sys.argv[1]))"
    )
    uri = f"local://{tmp_path}/elsewhere"
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(cache)) and not Path(done.stdout.strip()).parent.exists()
    assert (tmp_path / "elsewhere/run.json").read_text() == "1\n"


def test_scratch_is_for_the_owner_alone(cache: Path) -> None:
    root = mirror.folder_of(f"memory://{uuid4().hex}")
    assert root.parent.stat().st_mode & 0o077 == 0 == (cache / "mirrors").stat().st_mode & 0o077


@pytest.mark.parametrize("cache_name", ["file", "file/inner", "/proc/nowhere"])
def test_no_room_for_scratch_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_name: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE, str(tmp_path / cache_name))
    with pytest.raises(RunError, match=r"no room for working copies of .*; name another folder") as refused:
        mirror.folder_of("memory://here")
    assert "memory://here" in str(refused.value) and str(refused.value).endswith("the environment variable SWEEP_CACHE")
    assert "\n" not in str(refused.value) and cache_name in str(refused.value)


def test_where_scratch_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, "relative")
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == tmp_path / "relative"
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "demonstration-sweep"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_folder() == tmp_path / "me/.cache/demonstration-sweep"


# Paths of this machine ------------------------------------------------------------------------------------------------


def test_paths_of_this_machine_are_what_they_were(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mirror, "_open", lambda location: pytest.fail(f"{location} was opened"))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    for place in (tmp_path, str(tmp_path), tmp_path.as_uri()):
        assert mirror.folder_of(place) == mirror.run_folder_of(place) == tmp_path
    assert mirror.folder_of("runs") == Path("runs") == mirror.run_folder_of(Path("runs"))
    assert mirror.place_of(Path("runs")) == tmp_path / "runs" and mirror.shown(Path("runs")) == "runs"
    assert not mirror.is_mirrored(tmp_path)

    folder = step(tmp_path / "step-0001", "first")
    assert step(folder, "second") == folder and (folder / "model").read_text() == "first", "the first counts"
    write_json(tmp_path / "one/run.json", 1)
    write_json(tmp_path / "two/run.json", 2)
    os.utime(tmp_path / "one/run.json", (1e9, 1e9))
    for work in (mirror.push, mirror.push_folder, mirror.delete, mirror.forget, mirror.fetch, mirror.refresh):
        work(folder)
        work(tmp_path / "none")
    mirror.push_content(folder / "model", b"other")
    with mirror.uploading(folder / "model", seconds=0):
        pass
    assert (folder / "model").read_text() == "first" and mirror.fetch(folder) == folder == mirror.refresh(folder)
    files = mirror.listing(tmp_path, "*/run.json")
    assert files == [tmp_path / "one/run.json", tmp_path / "two/run.json"]
    assert mirror.newest(files) == tmp_path / "two/run.json"
    assert mirror.size(folder) is None and mirror.exists(folder) and not mirror.exists(tmp_path / "none")
    lock = mirror.lock(tmp_path / "driver.lock")
    assert isinstance(lock, FileLock)
    with lock.acquire(timeout=0), pytest.raises(Timeout):
        mirror.lock(tmp_path / "driver.lock").acquire(timeout=0)
    remove_folder(folder)
    assert not folder.exists()
    assert not cache.exists() and mirror._mirrors == {}
    assert not [record for record in caplog.records if record.name.startswith("sweep")]
