"""What is particular to files of the driver's machine: nothing damaged, no way out of the folder, locks of the dead."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from sweep.errors import RunError
from sweep.storage.home import HomePath
from sweep.storage.home_files import HomeFiles, sent
from sweep.storage.home_lock import HomeLock
from sweep.storage.outage import is_outage
from tests.sweep.storage.homes import NearHome
from tests.sweep.storage.others import step


@pytest.fixture
def home(tmp_path: Path) -> NearHome:
    return NearHome(tmp_path / "there", patience=0.4)


def test_what_arrives_damaged_is_stored_by_nobody_and_read_by_nobody(home: NearHome) -> None:
    folder = HomePath.open(home)
    step(folder / "whole")
    home.damages = True
    for write in (lambda: step(folder / "step"), lambda: (folder / "file").write_text("weights")):
        with pytest.raises(OSError, match="arrived damaged") as error:
            write()
        assert is_outage(error.value)
    with pytest.raises(OSError, match="arrived damaged"):
        (folder / "whole").local()
    with pytest.raises(OSError, match="arrived damaged"):
        (folder / "whole/model").read_bytes()
    assert sorted(file.name for file in Path(home.place).rglob("*")) == ["manifest.json", "model", "whole"]
    home.damages = False
    assert ((folder / "whole").local() / "model").read_text() == "weights"


@pytest.mark.parametrize("key", ["../other", "/etc", "a/../../other"])
def test_no_key_leads_out_of_the_folder(home: NearHome, key: str) -> None:
    Path(home.place, "../other").mkdir()
    refused = [
        home.ask("remove", key),
        home.ask("put_folder", "step", {key: sent(b"x")}),
        home.ask("claim", "step", {key: "x"}),
        home.ask("glob", ".", f"{key}/*"),
        home.ask("newest", ".", f"{key}/*"),
        home.ask("is_taken", ".", key),
    ]
    assert [type(one) for one in refused] == [RunError] * 6
    assert Path(home.place, "../other").exists() and list(Path(home.place).iterdir()) == []


def test_a_folder_without_its_manifest_is_not_fetched(home: NearHome) -> None:
    step(HomePath.open(home) / "step", complete=False)
    assert not (HomePath.open(home) / "step").local().exists()


def test_a_machine_that_cannot_be_reached_is_an_outage(home: NearHome, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = HomePath.open(home) / "step"
    monkeypatch.setattr(HomeFiles, "ask", lambda *asked: OSError(errno.EIO, "the driver's machine is gone", "x"))
    for use in (folder.exists, folder.read_bytes, folder.local, folder.remove, lambda: folder.write_text("1")):
        with pytest.raises(OSError, match="is gone") as error:
            use()
        assert is_outage(error.value)


# Locks ----------------------------------------------------------------------------------------------------------------


def lock_of(home: NearHome) -> HomeLock:
    lock = (HomePath.open(home) / "warm-up.lock").lock()
    assert isinstance(lock, HomeLock)
    lock._beat = 0.1
    return lock


def test_a_lock_holds_against_processes_of_the_drivers_machine_too(home: NearHome) -> None:
    there = FileLock(Path(home.place) / "warm-up.lock")
    with lock_of(home), pytest.raises(Timeout):
        there.acquire(timeout=0)
    with there, pytest.raises(Timeout):
        lock_of(home).acquire(timeout=0)
    with lock_of(home):
        time.sleep(1)  # longer than patience: it is heard of
        with pytest.raises(Timeout):
            there.acquire(timeout=0)


def test_the_lock_of_a_holder_that_is_silent_is_free(home: NearHome) -> None:
    dead = lock_of(home)
    dead._beat = 60
    dead.acquire()
    with pytest.raises(Timeout):
        lock_of(home).acquire(timeout=0)
    with FileLock(Path(home.place) / "warm-up.lock", timeout=5):
        assert not home.ask("beat", "warm-up.lock", dead._token), "it hears that it has lost it"
        dead.release()
        with pytest.raises(Timeout):
            lock_of(home).acquire(timeout=0)
