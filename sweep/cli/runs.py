"""Commands that drive a run: run, resume, evaluate, collect, embed. What they do is in `driving.py`."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from selector.errors import DataError
from sweep.cli.detach import Detached, start_detached
from sweep.cli.loading import loading
from sweep.cli.options import (
    RUNS,
    Address,
    AsJson,
    Cpus,
    Dashboard,
    Data,
    Detach,
    Embeddings,
    Follow,
    JoinOrHandIn,
    Log,
    MetricsPort,
    Moved,
    RunName,
    Runs,
    Set,
    Space,
    Storage,
    Verify,
    with_loggers,
)
from sweep.cli.submitted import resume_submitted
from sweep.driver.again import existing_run, request_to_go_on
from sweep.errors import RunError, SpaceError
from sweep.execution.ray.ahead import Ahead, modules_ahead
from sweep.execution.ray.jobs import is_dashboard
from sweep.execution.ray.options import RayOptions
from sweep.plan.requests import Request, request_of_run, request_of_space
from sweep.runs.find import find_run
from sweep.runs.paths import SharedPaths
from sweep.storage.location import local_folder
from sweep.terminal.outlet import write, write_error
from sweep.terminal.waiting import Waiting, without_stdout

app = typer.Typer()


@app.command()
def run(
    space: Space,
    data: Data = None,
    embeddings: Embeddings = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The run's name; default: the space's and a number.")
    ] = None,
    runs: Runs = RUNS,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    metrics_port: MetricsPort = None,
    overrides: Set = None,
    log: Log = None,
    detach: Detach = False,
    resume_existing: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of this --name if there is one already.")
    ] = False,
) -> None:
    """Check everything, run the trials, rank them."""
    detached, ray = _detached(detach), _ray(address, cpus, dashboard, metrics_port)
    with ExitStack() as stack:
        with _waiting(space):
            existing = None
            request = request_of_space(space, SharedPaths.beside(runs), data, embeddings, with_loggers(overrides, log))
            if resume_existing and (existing := existing_run(runs, name)) is not None:
                request = request_to_go_on(existing, request, _say)
            ray = stack.enter_context(_ahead(ray, request)).options
            with loading():
                from sweep.cli.driving import NewRun, drive, make_plan

            plan = make_plan(request)
        drive(plan, existing or NewRun(runs, name), ray, detached)


@app.command()
def resume(
    run: RunName = None,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    address: JoinOrHandIn = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    metrics_port: MetricsPort = None,
    overrides: Set = None,
    log: Log = None,
    detach: Detach = False,
    rebuild_study: Annotated[
        bool, typer.Option("--rebuild-study", help="Build a lost study again, from the trials' own records.")
    ] = False,
    verify: Verify = None,
    follow: Follow = False,
) -> None:
    """Continue a run that was interrupted: finished trials stay, the others go on from their last epoch."""
    if is_dashboard(address):
        where = None if runs is RUNS else runs.shown
        words = [f"--set={one}" for one in with_loggers(overrides, log)]
        words += [f"--{name}={file}" for name, file in (("data", data), ("embeddings", embeddings)) if file is not None]
        words += ["--rebuild-study"] * rebuild_study
        resume_submitted(address, verify, run, where, words, log=follow)
        return
    if follow:
        raise RunError("--follow is for a run on a cluster's dashboard: give its URL with --address")
    detached, ray = _detached(detach), _ray(address, cpus, dashboard, metrics_port)
    paths = find_run(run, runs, storage)
    with ExitStack() as stack:
        with _waiting(paths.shown):
            request = request_of_run(paths, data, embeddings, overrides=with_loggers(overrides, log))
            ray = stack.enter_context(_ahead(ray, request)).options
            with loading():
                from sweep.cli.driving import drive, make_plan

            plan = make_plan(request)
        drive(plan, paths, ray, detached, rebuild_study)


@app.command()
def evaluate(
    run: RunName = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="Take items, vlm and evaluation from this YAML file instead of the run's space."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The evaluation's name; default: that of the file of --space.")
    ] = None,
    main: Annotated[
        bool, typer.Option("--main", help="Have the run's ranking, verdict and export rest on this evaluation.")
    ] = False,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    metrics_port: MetricsPort = None,
    overrides: Set = None,
    as_json: AsJson = False,
) -> None:
    """Have the best trials' demonstrations answered by the model, and rank by the answers."""
    with loading():
        from sweep.cli.driving import Purpose, evaluate_run, make_plan, require_data, show_evaluation

    paths = find_run(run, runs, storage)
    with without_stdout() if as_json else nullcontext():
        with _waiting(paths.shown):
            request = request_of_run(paths, data, embeddings, space, answers_overrides=overrides or ())
            plan = require_data(make_plan(request))
        if plan.evaluation is None:
            raise SpaceError(
                f"{plan.request.source}: has no section evaluation; name a space that has one, with --space FILE"
            )
        purpose = Purpose(name=name, base=Purpose.base if space is None else space.stem, main=main)
        place = evaluate_run(plan, paths, _ray(address, cpus, dashboard, metrics_port), purpose)
    show_evaluation(plan, paths, place, as_json=as_json)


@app.command()
def collect(
    space: Space,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder for the data, in native form."),
    ],
    add: Annotated[
        Path | None,
        typer.Option("--add", metavar="DATA", help="Extend this data set, which was collected with the same settings."),
    ] = None,
    queries: Annotated[int, typer.Option("--queries", min=0, help="With --add: how many training queries more.")] = 0,
    beams: Annotated[
        int, typer.Option("--beams", min=0, help="With --add: beams more for each training group without contrast.")
    ] = 0,
    runs: Runs = RUNS,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    metrics_port: MetricsPort = None,
    overrides: Set = None,
) -> None:
    """Measure the beams of a space with its model: the data that trials are trained on."""
    if (add is None) == bool(queries or beams):
        raise DataError("an extension needs --add DATA, and --queries N or --beams N or both: what is added to what")
    with _waiting(space):
        request = request_of_space(space, SharedPaths.beside(runs), overrides=overrides or ())
        with loading():
            from sweep.cli.driving import Additions, collect_data, plan_collection

        additions = None if add is None else Additions(data=add, queries=queries, beams=beams)
        plan = plan_collection(request, additions)
    collect_data(plan, out, _ray(address, cpus, dashboard, metrics_port))


@app.command()
def embed(
    space: Space,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder for the embeddings."),
    ],
    runs: Runs = RUNS,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
    metrics_port: MetricsPort = None,
    overrides: Set = None,
) -> None:
    """Embed the images and questions of a space, as its section embed says."""
    with _waiting(space):
        request = request_of_space(space, SharedPaths.beside(runs), overrides=overrides or ())
        with loading():
            from sweep.cli.driving import embed_items, plan_embedding

        plan = plan_embedding(request)
    embed_items(plan, out, _ray(address, cpus, dashboard, metrics_port))


def _detached(wanted: bool) -> Detached:
    """What `--detach` asks of the present process. One that only starts the other does not return."""
    detached = Detached()
    if wanted and not detached.is_detached:
        start_detached()
    return detached


def _ahead(ray: RayOptions, request: Request) -> Ahead:
    """Ray, which starts while the program is loaded and the data is read."""
    return Ahead(replace(ray, preload=modules_ahead(request.space, ray)))


def _ray(address: str | None, cpus: int | None, dashboard: bool, metrics_port: int | None) -> RayOptions:
    if address is not None and metrics_port is not None:
        raise RunError("--metrics-port is for a Ray that is started here; the one at --address has its own")
    return RayOptions(address, cpus, dashboard, metrics_port)


def _say(line: str) -> None:
    write_error(f"{line}\n")


def _waiting(what: str) -> Waiting:
    """Says what the command does before there is anything to show."""
    return Waiting(lambda line: write(f"{line}\n"), f"reading {what}, its data and items")
