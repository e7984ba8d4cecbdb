"""Addresses elsewhere, and where the working copies are and when they go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from sweep.errors import RunError
from sweep.storage.lease import Lease
from sweep.storage.open import open_folder, open_run_folder
from sweep.storage.path import StoredPath
from sweep.storage.scratch import CACHE, cache_folder
from tests.s3 import S3Server
from tests.sweep.storage.others import Other, others, read, scratch, write


def test_a_run_stands_in_its_folder_of_runs(remote: StoredPath) -> None:
    run = open_run_folder(f"{remote}/grpo-1/")
    assert run.shown == run.place == f"{remote}/grpo-1" and run.name == "grpo-1" and run.parent.shown == remote.shown
    assert run.is_remote and isinstance((run / "driver.lock").lock(), Lease)
    with pytest.raises(RunError, match="is not a run's folder; name the folder in it"):
        open_run_folder("s3://bucket")


def test_keys_in_an_address_reach_other_processes_but_no_screen(s3: S3Server, other: Other) -> None:
    root = open_folder(s3.address("runs"))
    file = root / "run.json"
    file.write_json(1)
    assert "testing" in file.place
    for text in (file.shown, str(file), repr(file), repr({file}), str(file.local())):
        assert "testing" not in text
    assert other.ask(read, root.place, "run.json") == "1\n"


# Scratch --------------------------------------------------------------------------------------------------------------


def test_scratch_of_the_killed_goes_and_of_the_living_stays(tmp_path: Path, cache: Path) -> None:
    uri = f"local://{tmp_path}/elsewhere"
    with others(2) as (killed, living):
        folders = [Path(one.ask(scratch, uri)) for one in (killed, living)]
        assert len(set(folders)) == 2, "each works in its own"
        for one in (killed, living):
            one.ask(write, uri, "file", "content")
        killed.kill()
        (cache / "mirrors" / "stray").write_text("no folder")
        mine = [open_folder(uri), open_folder(f"{uri}/deeper")]
        assert [folder.parent.exists() for folder in folders] == [False, True]
        assert all(folder.local().exists() for folder in mine)
        assert living.ask(read, uri, "file") == "content"
    mine.append(open_folder(f"{uri}/and/deeper"))
    assert not folders[1].exists() and all(folder.local().exists() for folder in mine)


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")  # as for a user id that no list has

    for name in (CACHE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(RunError, match=f"HOME is not set.*{CACHE}"):
        cache_folder()


@pytest.mark.slow
def test_scratch_of_a_process_that_ends_goes_with_it(tmp_path: Path, cache: Path) -> None:
    code = (
        "import sys; from sweep.storage.open import open_folder; folder = open_folder(sys.argv[1])\n"
        "(folder / 'run.json').write_json(1); print((folder / 'run.json').local())"
    )
    uri = f"local://{tmp_path}/elsewhere"
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(cache)) and not Path(done.stdout.strip()).parent.exists()
    assert (tmp_path / "elsewhere/run.json").read_text() == "1\n"


def test_scratch_is_for_the_owner_alone(cache: Path) -> None:
    root = open_folder(f"memory://{uuid4().hex}")
    assert root.local().parent.stat().st_mode & 0o077 == 0 == (cache / "mirrors").stat().st_mode & 0o077


@pytest.mark.parametrize("cache_name", ["file", "file/inner", "/proc/nowhere"])
def test_no_room_for_scratch_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache_name: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE, str(tmp_path / cache_name))
    with pytest.raises(RunError, match=r"no room for working copies of .*; name another folder") as refused:
        open_folder("memory://here")
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
