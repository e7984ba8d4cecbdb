"""One holder at a time, without locks: who changes the file, who may take it over and when, and who finds out."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from sweep.storage.lease import Lease
from sweep.storage.processes import _process, _started
from sweep.storage.remote_files import RemoteFiles
from tests.s3 import S3Server
from tests.sweep.storage.others import let_go, others, still_has_it, store_at, take, take_over
from tests.sweep.storage.systems import Recorder, local_store, recorded

KEY = "runs/grpo-1/driver.lock"
BEAT, SETTLE = 0.1, 0.1
PATIENCE = 15.0  # far more than a busy machine keeps a beat waiting
SHORT = 1.2  # where it is waited for
TIMES = (BEAT, PATIENCE, SETTLE)


@pytest.fixture
def place(tmp_path: Path) -> RemoteFiles:
    return local_store(tmp_path / "place")


def lease(store: RemoteFiles, patience: float = PATIENCE) -> Lease:
    return Lease(store, KEY, BEAT, patience, SETTLE)


def stored(store: RemoteFiles) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read(KEY) or b"null")
    return found


def seconds_to_take(store: RemoteFiles, patience: float = PATIENCE) -> float:
    began = time.monotonic()
    lease(store, patience).acquire().release()
    return time.monotonic() - began


def wait_until_lost(held: Lease, seconds: float = 10.0) -> float:
    began = time.monotonic()
    while not held.lost:
        assert time.monotonic() - began < seconds, "still held"
        time.sleep(0.01)
    return time.monotonic() - began


def test_a_second_holder_is_refused_while_the_first_lives(store: RemoteFiles) -> None:
    with lease(store).acquire() as first:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(Timeout, match=r"driver\.lock"):
                lease(store).acquire()
            assert time.monotonic() - began < PATIENCE, "it changes, so there is no need to wait"
        assert not first.lost
    assert store.names("runs/grpo-1") == [], "released"
    assert seconds_to_take(store) < PATIENCE


def test_its_holder_changes_it_and_nothing_else_does(place: RemoteFiles) -> None:
    held = lease(place).acquire()
    beats, token = [], stored(place)["token"]
    until = time.monotonic() + 10
    while len(beats) < 4 and time.monotonic() < until:
        found = stored(place)
        assert found["token"] == token and found["pid"] == os.getpid() and found["host"] == socket.gethostname()
        if found["beat"] not in beats:
            beats.append(found["beat"])
        time.sleep(BEAT / 4)
    assert len(beats) == 4 and beats == sorted(beats)
    held.release()
    time.sleep(2 * BEAT)
    assert place.read(KEY) is None
    held.release()  # once more changes nothing


def test_waiting_for_it(place: RemoteFiles) -> None:
    with others(1) as [other]:
        assert other.ask(take, place._root, KEY, *TIMES)
        other.begin(_let_go_after, 0.6)
        began = time.monotonic()
        with lease(place).acquire(timeout=30):
            assert 0.3 < time.monotonic() - began < 15
            assert stored(place)["pid"] == os.getpid()
        other.answer()


def _let_go_after(seconds: float) -> None:
    time.sleep(seconds)
    let_go()


def test_one_object_may_take_it_again_and_again(place: RemoteFiles) -> None:
    held = lease(place)
    for _ in range(2):
        with held.acquire() as again:
            assert again is held and not held.lost
            with pytest.raises(Timeout):
                lease(place).acquire()
    with held:
        assert stored(place)["pid"] == os.getpid()
    assert place.read(KEY) is None


# Dead holders ---------------------------------------------------------------------------------------------------------


def test_a_killed_process_of_this_machine_is_followed_at_once(place: RemoteFiles) -> None:
    with others(1) as [other]:
        assert other.ask(take, place._root, KEY, *TIMES)
        with pytest.raises(Timeout):
            lease(place).acquire()
        other.kill()
        assert stored(place)["pid"] == other.process.pid
        assert seconds_to_take(place) < PATIENCE / 2


def test_a_zombie_is_dead(place: RemoteFiles) -> None:
    """A killed process keeps its number until its parent asks for its end."""
    with subprocess.Popen(["sleep", "60"]) as process:
        living = {**holder(), **_process(process.pid)}
        place.write(KEY, json.dumps(living).encode())
        assert _started(process.pid) == living["started"] is not None
        process.kill()
        while _started(process.pid) is not None:
            time.sleep(0.001)
        assert Path(f"/proc/{process.pid}/stat").exists()
        assert seconds_to_take(place) < PATIENCE / 2


def test_a_number_that_another_process_has_by_now_does_not_count(place: RemoteFiles) -> None:
    place.write(KEY, json.dumps(holder(started="1")).encode())
    assert seconds_to_take(place) < PATIENCE / 2


def holder(**changed: Any) -> dict[str, Any]:
    """This process, living, or what is changed of it."""
    return {"token": "theirs", "beat": 3, "host": socket.gethostname(), **_process(os.getpid()), **changed}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(holder()),
        json.dumps(holder(host="elsewhere", pid=2**22 + 1)),
        json.dumps(holder(boot="another", pid=2**22 + 1)),
        json.dumps(holder(pids="pid:[1]", pid=2**22 + 1)),
        json.dumps(holder(pid="none")),
        json.dumps({"token": "theirs"}),
        "[]",
        "not json \xff",
        "",
    ],
    ids=["living", "host", "boot", "container", "no number", "token alone", "list", "damaged", "empty"],
)
def test_whoever_may_live_elsewhere_is_given_time(place: RemoteFiles, content: str) -> None:
    """Also a living process of this machine that holds it no more."""
    place.write(KEY, content.encode("latin-1"))
    assert 0.3 <= seconds_to_take(place, patience=0.3) < 5


def test_a_holder_elsewhere_that_goes_on_keeps_it(place: RemoteFiles) -> None:
    """Its clock, its host and its process say nothing here; that the file changes does."""
    with others(1) as [other]:
        other.begin(_beat_elsewhere, place._root)
        while place.read(KEY) is None:
            time.sleep(0.01)
        with pytest.raises(Timeout):
            lease(place).acquire()
        other.kill()
        assert seconds_to_take(place, SHORT) >= SHORT - BEAT


def _beat_elsewhere(address: str) -> None:
    store = store_at(address)
    for beat in range(10_000):
        store.write(KEY, json.dumps(holder(host="elsewhere", beat=beat)).encode())
        time.sleep(BEAT)


# Several at once ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_several_that_start_at_one_moment_at_most_one_holds_it(place: RemoteFiles) -> None:
    """Each writes, waits, and looks whose text stands. Who wrote late, on a slow machine, drives out who wrote before,
    who finds out with its next beat; and that is never the other way round."""
    held = []
    with others(3) as three:
        for number in range(4):
            if number % 2:
                place.write(KEY, json.dumps(holder(started="1", pid=2**22 + 1)).encode())  # all follow a dead one
            at = time.time() + 0.2
            for one in three:
                one.begin(take, place._root, KEY, *TIMES, at)
            taken = [one.answer() for one in three]
            time.sleep(3 * BEAT)
            having = [one.ask(still_has_it) for one in three]
            assert sum(having) <= 1, (number, taken, having)
            assert sum(having) == 1 or not any(taken)
            held.append(sum(having))
            for one in three:
                one.ask(let_go)
            assert place.read(KEY) is None or not any(having)
            place.delete(KEY)
    assert sum(held) >= 2, "most of the time somebody gets it"


# Losing it ------------------------------------------------------------------------------------------------------------


def test_who_lost_it_knows_and_leaves_it_to_the_other(store: RemoteFiles) -> None:
    held = lease(store).acquire()
    take_over(held, json.dumps(holder()).encode())
    held.release()
    assert stored(store) == holder(), "it is the other's"
    store.delete(KEY)
    with held.acquire():
        assert not held.lost


def test_whose_file_vanished_lost_it(place: RemoteFiles) -> None:
    held = lease(place).acquire()
    until = time.monotonic() + 10
    while not held.lost:
        assert time.monotonic() < until
        place.delete(KEY)
        time.sleep(3 * BEAT)
    held.release()
    assert place.read(KEY) is None


@pytest.mark.slow
def test_storage_that_hangs_longer_than_the_patience_loses_it(s3: S3Server) -> None:
    """Somebody else's requests may go through, and the one that hangs may arrive at last."""
    store = store_at(s3.folder())
    held = lease(store, 4 * SHORT).acquire()
    s3.freeze()
    try:
        time.sleep(SHORT)
        assert not held.lost, "not yet"
        assert wait_until_lost(held) <= 4 * SHORT + 1
    finally:
        s3.thaw()
    time.sleep(3 * BEAT)
    assert held.lost, "for good"
    held.release()
    assert held.lost and stored(store)["pid"] == os.getpid(), "nobody removes what may be another's"
    assert seconds_to_take(store, SHORT) >= SHORT, "its process lives"


@pytest.mark.slow
def test_storage_that_fails_now_and_then_does_not(caplog: pytest.LogCaptureFixture) -> None:
    handler = Recorder()
    store = recorded(handler)
    with lease(store, 4 * SHORT).acquire() as held:
        for _ in range(2):
            handler.fails = {"write"}
            time.sleep(2 * SHORT)
            handler.fails = set()
            time.sleep(SHORT)
            assert not held.lost
        handler.fails = {"write"}
        wait_until_lost(held)
        handler.fails = set()
        time.sleep(3 * BEAT)
        assert held.lost, "for good"
    assert any("cannot prolong the lease" in record.message for record in caplog.records)
    assert stored(store)["pid"] == os.getpid(), "nobody removes what may be another's"


def test_giving_it_back_to_storage_that_fails_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """What was done under the lease is done."""
    handler = Recorder()
    store = recorded(handler)
    with caplog.at_level(logging.WARNING), lease(store).acquire():
        handler.fails = {"delete"}
    assert "cannot give the lease" in caplog.text
    handler.fails = set()
    assert seconds_to_take(store, SHORT) >= SHORT - BEAT


def test_taking_it_from_storage_that_fails_is_an_outage() -> None:
    handler = Recorder()
    handler.fails = {"write"}
    with pytest.raises(OSError) as failed:
        lease(recorded(handler)).acquire()
    assert failed.value.errno == errno.EIO and failed.value.filename == f"memory://root/{KEY}"
