"""A command that is handed in again, on a cluster or by a batch system: the run that it began before goes on."""

from __future__ import annotations

import time
from collections.abc import Callable

from sweep.errors import RunError
from sweep.plan.requests import Request, request_of_run
from sweep.runs.driver import driver_state
from sweep.runs.paths import RunPaths
from sweep.space import canonical, differences, parse_space
from sweep.storage.path import StoredPath

PATIENCE = 120.0
"""Seconds for the driver before to end. One whose cluster has lost its head needs about a minute."""
LOOK_SECONDS = 2.0


def existing_run(runs: StoredPath, name: str | None) -> RunPaths | None:
    """The run of this name, if there is one. Raises RunError without a name."""
    if name is None:
        raise RunError("--resume: which run? Give it a name, with --name")
    paths = RunPaths(runs / name)
    return paths if paths.run_file.exists() else None


def request_to_go_on(
    paths: RunPaths, again: Request, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> Request:
    """The request that goes on with a run, for one that would begin it.

    Args:
        paths: the run that exists.
        again: the new request. Its files may be elsewhere by now, and its overrides count on top of the run's.
        say: told what is waited for.
        sleep: waits.

    Raises:
        RunError: the run was begun with another space.
    """
    text = paths.space_file.read_text()
    if text != again.text:
        begun = canonical(parse_space(text, paths.space_file.shown))
        if changed := differences(begun, canonical(parse_space(again.text, again.source))):
            raise RunError(
                f"run {paths.name} exists and has another space ({'; '.join(changed[:3])}): take another --name, or "
                "leave the file as it was and change what may change with --set"
            )
    _wait_for_the_driver_before(paths, say, sleep)
    return request_of_run(paths, again.data.path, again.data.embeddings, overrides=again.overrides)


def _wait_for_the_driver_before(paths: RunPaths, say: Callable[[str], None], sleep: Callable[[float], None]) -> None:
    """One that does not end is refused later, where the run is opened."""
    deadline = time.monotonic() + PATIENCE
    said = False
    while driver_state(paths, say, sleep=sleep).alive and time.monotonic() < deadline:
        if not said:
            say(f"run {paths.name} still has a driver; waiting for its end ...")
        said = True
        sleep(LOOK_SECONDS)
