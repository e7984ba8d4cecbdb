"""Driving a sweep from Python, as the commands `run` and `resume` do, with the same checks and the same errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from sweep.api.loaded import Run, load_run
from sweep.driver.create import NewRun
from sweep.driver.loggers import ending_of, open_loggers
from sweep.driver.run import execute
from sweep.errors import RunError, SpaceError
from sweep.execution.ray.options import RayOptions
from sweep.plan.cost.estimate import estimate_here
from sweep.plan.make import make_plan
from sweep.plan.plan import AnyPlan
from sweep.plan.requests import request_of_run, request_of_space, request_of_text
from sweep.report.cost import cost_table
from sweep.report.page.write import write_report
from sweep.report.plan import plan_table
from sweep.report.terminal import print_outcome
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.storage.open import open_folder
from sweep.storage.path import StoredPath
from sweep.terminal.console import own_stream, quiet, screen

SOURCE = "the given space"


def run(
    space: str | Path | Mapping[str, Any],
    *,
    name: str | None = None,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    embeddings: str | Path | None = None,
    overrides: Sequence[str] = (),
    address: str | None = None,
    cpus: int | None = None,
    dashboard: bool = False,
    show: bool = True,
) -> Run:
    """Check everything, run the trials, rank them. Returns when the run has ended, or was interrupted.

    Args:
        space: a YAML file, the name of a shipped space, or the space itself as a mapping.
        name: of the run; None: the space's and a number.
        runs: the folder or URI in which the run's folder is made.
        data: instead of the space's `data.path`.
        embeddings: instead of the space's `data.embeddings`.
        overrides: assignments such as `budget.trials=8`, as `--set` takes them.
        address: of the Ray cluster to join; None: one is started here, or the one that this process uses already.
        cpus: cores for a Ray started here, at least 1; None: all.
        dashboard: whether a Ray started here brings its dashboard.
        show: whether progress and tables are printed.

    Returns:
        The run. `finished` says whether it has ended.

    Raises:
        UserError: the space, the data or the run cannot be used, as the command line says it.
        KeyboardInterrupt: interrupted before a trial ran. `resume` goes on.
    """
    _check_thread()
    folder = open_folder(str(runs))
    shared, files = SharedPaths.beside(folder), (_path(data), _path(embeddings))
    if isinstance(space, Mapping):
        request = request_of_text(_as_text(space), SOURCE, shared, *files, overrides)
    else:
        request = request_of_space(str(space), shared, *files, overrides)
    return _drive(make_plan(request), NewRun(folder, name), RayOptions(address, cpus, dashboard), show)


def resume(
    run: str | Path | Run | None = None,
    *,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    embeddings: str | Path | None = None,
    overrides: Sequence[str] = (),
    address: str | None = None,
    cpus: int | None = None,
    dashboard: bool = False,
    show: bool = True,
) -> Run:
    """Continue a run that was interrupted: finished trials stay, the others go on from their last epoch.

    Args:
        run: an object, a folder, a URI, or a name below `runs`; None: the newest.
        runs: the folder or URI that holds the runs.
        data: where the run's data is now, if it was moved.
        embeddings: where the embeddings are now.
        overrides: on top of those that the run was started with.
        address: as in `run`.
        cpus: as in `run`.
        dashboard: as in `run`.
        show: as in `run`.

    Returns:
        The run, as `run` returns it.

    Raises:
        UserError: there is no such run, it was changed, or a driver holds it; else as `run`.
        KeyboardInterrupt: interrupted before a trial ran.
    """
    _check_thread()
    paths = (run if isinstance(run, Run) else load_run(run, runs=runs)).paths
    plan = make_plan(request_of_run(paths, _path(data), _path(embeddings), overrides=overrides))
    return _drive(plan, paths, RayOptions(address, cpus, dashboard), show)


def _drive(plan: AnyPlan, new_or_old: NewRun | RunPaths, ray: RayOptions, show: bool) -> Run:
    stream = own_stream(shown=show)

    @contextmanager
    def open_screen(log_file: StoredPath) -> Iterator[Console]:
        with quiet(log_file, stream) as console:
            console.print(plan_table(plan))
            if (cost := estimate_here(plan)) is not None:
                console.print(cost_table(cost))
            yield console

    with open_loggers(plan.space.loggers) as loggers:
        outcome = execute(plan, new_or_old, ray, open_screen, loggers=loggers)
        print_outcome(screen(stream), outcome)
        if not outcome.interrupted:
            screen(stream).print(write_report(outcome.paths, plan), soft_wrap=True, highlight=False, markup=False)
        loggers.end(ending_of(outcome))
    return Run(outcome.paths)


def _check_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RunError("a sweep handles Ctrl-C, so it must be started from the main thread of its process")


def _as_text(space: Mapping[str, Any]) -> str:
    """The mapping as JSON, which is YAML too. A run keeps it as its `space.yaml`."""
    try:
        return json.dumps(dict(space), indent=2, default=_plain, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise SpaceError(
            f"{SOURCE}: {error}; use plain values: mappings, lists, texts, numbers, true and false"
        ) from None


def _plain(value: object) -> object:
    """Paths and NumPy's numbers as plain values."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__} has no place in a space")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
