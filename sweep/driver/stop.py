"""Stopping a run from elsewhere: a request in its folder, for which its driver looks (`sweep.driver.pulse`).

One way for this machine, for others and for remote storage: who may write into the folder may stop the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sweep.driver.pulse import StopRequest
from sweep.errors import RunError
from sweep.runs.driver import DriverRecord, DriverState, driver_state
from sweep.runs.paths import RunPaths

LOOK_SECONDS = 0.5
REMOTE_LOOK_SECONDS = 3.0
FIRST_WORD_SECONDS = 10.0


@dataclass(frozen=True)
class Stopped:
    """How a request to stop went.

    Attributes:
        was_alive: whether there was a driver.
        has_ended: whether there is none now.
        driver: what it said last.
    """

    was_alive: bool
    has_ended: bool
    driver: DriverRecord | None


def stop(
    paths: RunPaths,
    now: bool,
    seconds: float,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Stopped:
    """Ask a run's driver to end, and wait until it has.

    Args:
        paths: the run's.
        now: do not wait for the running epochs.
        seconds: to wait at most.
        say: told what is waited for.
        sleep: waits.

    Raises:
        RunError: the driver lives and says nothing.
        OSError: the request cannot be written.
    """
    state = _heard(paths, say, sleep)
    if not state.alive or state.record is None:
        return Stopped(was_alive=False, has_ended=True, driver=state.record)
    driver = state.record
    paths.stop_file.write_json(StopRequest(token=driver.token, now=now).model_dump(mode="json"))
    after = "at once" if now else "after the running epochs"
    say(f"asked process {driver.pid} on {driver.host} to stop {after}; waiting for its end ...")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sleep(REMOTE_LOOK_SECONDS if paths.root.is_remote else LOOK_SECONDS)
        found = driver_state(paths, say, sleep=sleep)
        if not found.alive or (found.record is not None and found.record.token != driver.token):
            return Stopped(was_alive=True, has_ended=True, driver=found.record)
    return Stopped(was_alive=True, has_ended=False, driver=driver)


def _heard(paths: RunPaths, say: Callable[[str], None], sleep: Callable[[float], None]) -> DriverState:
    """The driver, once it has said its first word."""
    waited = 0.0
    while (state := driver_state(paths, say, sleep=sleep)).alive and state.record is None:
        if waited >= FIRST_WORD_SECONDS:
            raise RunError(f"run {paths.name} is held by a process that says nothing of itself: an earlier version?")
        sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    return state
