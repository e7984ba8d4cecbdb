"""A driver's sign of life, and the request to stop it."""

from __future__ import annotations

import logging
import shutil
import signal
import time
from pathlib import Path

import pytest

from sweep.driver.pulse import Pulse, StopRequest
from sweep.driver.signals import terminable
from sweep.errors import RunError
from sweep.runs.driver import DriverRecord, End, Phase, driver_state, read_driver
from sweep.runs.paths import RunPaths
from sweep.vlm.pool.progress import PoolProgress
from tests.sweep.commands import wait_for

BEAT = 0.05


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    (tmp_path / "mine").mkdir()
    return RunPaths.at(tmp_path / "mine")


def said(paths: RunPaths) -> DriverRecord:
    record = read_driver(paths)
    assert record is not None
    return record


def test_it_says_what_it_does_while_it_lives_and_how_it_ended(paths: RunPaths) -> None:
    with Pulse(paths, BEAT) as pulse:
        assert said(paths).phase is Phase.STARTING and said(paths).end is None
        pulse.phase(Phase.TRAINING, "trials", 24, 30)
        pulse.progress(7)
        wait_for(lambda: said(paths).done == 7)
        beats = said(paths).beats
        wait_for(lambda: said(paths).beats > beats + 2)
        assert (said(paths).phase, said(paths).total, said(paths).epochs) == (Phase.TRAINING, 24, 30)
        pulse.phase(Phase.RANKING)
        wait_for(lambda: said(paths).phase is Phase.RANKING)
        assert (said(paths).done, said(paths).total) == (0, None)
    assert said(paths).end is End.FINISHED
    assert [file.name for file in paths.root.local().iterdir()] == ["driver.json"]


def test_what_phases_cost_is_kept_over_drivers(paths: RunPaths) -> None:
    """Seconds add up to the life of the drivers, and prompts stand with the phase that asked them."""
    lives = 0.0
    for _ in range(2):
        with Pulse(paths, BEAT) as pulse:
            pulse.phase(Phase.EVALUATING)
            pulse.prompts(answered=3, reused=4)
            time.sleep(0.05)
            pulse.phase(Phase.RANKING)
        lives += said(paths).updated - said(paths).began
    spent = {one.phase: one for one in said(paths).spent}
    assert list(spent) == [Phase.STARTING, Phase.EVALUATING, Phase.RANKING]
    assert (spent[Phase.EVALUATING].answered, spent[Phase.EVALUATING].reused) == (6, 8)
    assert spent[Phase.EVALUATING].seconds >= 0.1
    assert sum(one.seconds for one in spent.values()) == pytest.approx(lives, abs=0.1)


@pytest.mark.parametrize(
    ("error", "end", "reason"),
    [
        (KeyboardInterrupt(), End.INTERRUPTED, "Ctrl-C"),
        (RunError("the disk is full\nand more"), End.FAILED, "the disk is full"),
        (ZeroDivisionError("internal"), End.FAILED, "ZeroDivisionError"),
    ],
)
def test_an_error_is_its_end(paths: RunPaths, error: BaseException, end: End, reason: str) -> None:
    with pytest.raises(type(error)), Pulse(paths, BEAT) as pulse:
        pulse.why = "Ctrl-C"
        raise error
    assert (said(paths).end, said(paths).reason) == (end, reason)


def test_a_pace_is_known_only_from_enough(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pulse = Pulse(paths)
    for seconds, counted, pace in [(0, 1, None), (1, 3, None), (1, 4, None), (2, 9, 2.0), (6, 31, 3.0)]:
        now += seconds
        pulse.count(counted)
        assert pulse._record.pace == pace
    pulse.phase(Phase.EVALUATING, "answers")
    assert pulse._record.pace is None


def test_what_a_phase_has_cost_does_not_go_by_the_time_of_day(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pulse = Pulse(paths)
    pulse.phase(Phase.TRAINING, "trials")
    monkeypatch.setattr(time, "time", lambda: 5.0)  # somebody sets the clock back by half a century
    now += 90
    pulse.phase(Phase.EVALUATING, "answers")
    assert {one.phase: one.seconds for one in pulse._record.spent}[Phase.TRAINING] == 90


def test_answers_of_several_rounds_are_one_count(paths: RunPaths) -> None:
    pulse, seen = Pulse(paths), []
    for done, total in [(8, 20), (20, 20), (16, 16), (4, 30), (30, 30)]:
        pulse.answers(PoolProgress(done, total, 0, 1.0, None, {}))
        seen.append((pulse._record.done, pulse._record.total))
    assert seen == [(8, 20), (20, 20), (36, 36), (40, 66), (66, 66)]


def test_what_cannot_be_written_is_said_once_and_kills_nothing(
    paths: RunPaths, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Pulse(paths, BEAT):
        paths.driver_file.remove()
        paths.driver_file.local().mkdir()  # no file can replace it
        wait_for(lambda: caplog.records)
        time.sleep(4 * BEAT)
    assert len([line for line in caplog.messages if "cannot say that this driver lives" in line]) == 1


def test_a_run_that_somebody_removed_is_not_made_again(paths: RunPaths) -> None:
    with Pulse(paths, BEAT):
        shutil.rmtree(paths.root.local())
        time.sleep(4 * BEAT)
    assert not paths.root.exists()


@pytest.mark.parametrize("now", [False, True])
def test_a_request_to_stop_is_heard_once(paths: RunPaths, now: bool) -> None:
    with pytest.raises(KeyboardInterrupt), Pulse(paths, BEAT) as pulse, terminable():
        request = StopRequest(token=said(paths).token, now=now)
        paths.stop_file.write_json(request.model_dump(mode="json"))
        time.sleep(20)
    assert pulse.stop_now is now
    assert said(paths).end is End.INTERRUPTED and said(paths).reason.startswith("stopped by `sweep stop")
    assert not paths.stop_file.exists()


@pytest.mark.parametrize("content", [b'{"token": "another driver\'s", "now": true}', b"[" * 1000, b"{}"])
def test_what_is_meant_for_another_driver_is_not_heard(paths: RunPaths, content: bytes) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Pulse(paths, BEAT):
        paths.stop_file.write_bytes(content)
        time.sleep(4 * BEAT)
    assert said(paths).end is End.FINISHED and signal.getsignal(signal.SIGTERM) is before


def test_a_later_driver_removes_what_a_killed_one_left(paths: RunPaths) -> None:
    paths.stop_file.write_bytes(b"{}")
    half = paths.root.local() / ".driver.json.0123"
    half.write_text("{")
    with Pulse(paths, BEAT):
        assert not half.exists() and not paths.stop_file.exists()
        assert not driver_state(paths).alive, "it holds no lock here"


def test_on_storage_elsewhere(tmp_path: Path, cache: Path) -> None:
    """Without a lock to look at: the process tells whether it lives, and a request to stop arrives all the same."""
    paths = RunPaths.at(f"local://{tmp_path}/elsewhere/mine")
    assert not driver_state(paths).alive
    with pytest.raises(KeyboardInterrupt), Pulse(paths, BEAT), terminable():
        found = driver_state(RunPaths.at(f"local://{tmp_path}/elsewhere/mine"))
        assert (
            found.alive
            and found.here
            and found.record == said(paths).replace(updated=found.record.updated, beats=found.record.beats)
        )
        paths.stop_file.write_json(StopRequest(token=said(paths).token, now=False).model_dump(mode="json"))
        time.sleep(20)
    assert not driver_state(paths).alive and said(paths).end is End.INTERRUPTED
    killed = said(paths).replace(end=None, process=said(paths).process.replace(started="1"))
    paths.driver_file.write_text(killed.model_dump_json())
    assert not driver_state(paths).alive, "a killed one of this machine is dead at once"
