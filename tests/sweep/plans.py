"""Plans and screens for tests that drive a run in their own process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rich.console import Console

from sweep.driver.session import OpenScreen
from sweep.plan.make import make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_run, request_of_space
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.terminal.console import Screen


def plan_of_space(file: Path | str) -> Plan:
    """The plan of a space whose data is there."""
    return require_data(
        make_plan(request_of_space(str(file), SharedPaths.beside(stored_at(Path(file).parent / "runs"))))
    )


def plan_of_run(paths: RunPaths, data: Path | None = None) -> Plan:
    return require_data(make_plan(request_of_run(paths, data)))


def screen_on(stream: io.StringIO) -> OpenScreen:
    """A screen that is a text; other output stays where it is."""

    @contextmanager
    def opened() -> Iterator[Console]:
        yield Screen(file=stream, width=160)

    def open_screen(log_file: StoredPath) -> AbstractContextManager[Console]:
        return opened()

    return open_screen
