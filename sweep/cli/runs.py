"""Commands that drive a run: run, resume, evaluate, collect, embed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from selector.errors import DataError
from sweep.cli.detach import Detached, start_detached
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
from sweep.collect.extend import Additions
from sweep.collect.store import check_empty
from sweep.driver.again import existing_run, request_to_go_on
from sweep.driver.collection import collect_into
from sweep.driver.create import NewRun
from sweep.driver.embedding import embed_into
from sweep.driver.loggers import ending_of, open_loggers
from sweep.driver.run import evaluate_again, execute
from sweep.errors import RunError, SpaceError
from sweep.evaluation.records import read_evaluation
from sweep.execution.ray.jobs import is_dashboard
from sweep.execution.ray.options import RayOptions
from sweep.plan.collection import plan_collection, plan_embedding
from sweep.plan.cost.estimate import estimate_here
from sweep.plan.make import make_plan
from sweep.plan.plan import AnyPlan, require_data
from sweep.plan.requests import request_of_run, request_of_space
from sweep.report.cost import cost_table
from sweep.report.documents import document_text, evaluation_document
from sweep.report.page.write import write_report
from sweep.report.plan import plan_table
from sweep.report.terminal import print_evaluation, print_outcome
from sweep.report.verdict import print_verdict
from sweep.results.evaluations import Purpose
from sweep.results.verdict import verdict_on_evaluation
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.storage.local import stored_at
from sweep.storage.location import local_folder
from sweep.storage.path import StoredPath
from sweep.terminal.console import quiet, screen
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
    detached = _detached(detach)
    target: NewRun | RunPaths = NewRun(runs, name)
    with _waiting(space):
        assignments = with_loggers(overrides, log)
        request = request_of_space(space, SharedPaths.beside(runs), data, embeddings, assignments)
        if resume_existing and (existing := existing_run(runs, name)) is not None:
            target, request = existing, request_to_go_on(existing, request, _say)
        plan = make_plan(request)
    _drive(plan, target, _ray(address, cpus, dashboard, metrics_port), detached)


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
    detached = _detached(detach)
    paths = find_run(run, runs, storage)
    with _waiting(paths.shown):
        plan = make_plan(request_of_run(paths, data, embeddings, overrides=with_loggers(overrides, log)))
    _drive(plan, paths, _ray(address, cpus, dashboard, metrics_port), detached, rebuild_study)


def _detached(wanted: bool) -> Detached:
    """What `--detach` asks of the present process. One that only starts the other does not return."""
    detached = Detached()
    if wanted and not detached.is_detached:
        start_detached()
    return detached


def _drive(plan: AnyPlan, run: NewRun | RunPaths, ray: RayOptions, detached: Detached, rebuild: bool = False) -> None:
    with _interruption(), open_loggers(plan.space.loggers) as loggers:
        outcome = execute(plan, run, ray, partial(_screen, plan), detached.started, rebuild, loggers)
        print_outcome(screen(), outcome)
        if not outcome.interrupted:
            screen().print(write_report(outcome.paths, plan), soft_wrap=True, highlight=False, markup=False)
        loggers.end(ending_of(outcome))
    raise typer.Exit(outcome.exit_code)


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
    paths = find_run(run, runs, storage)
    with without_stdout() if as_json else nullcontext():
        with _waiting(paths.shown):
            request = request_of_run(paths, data, embeddings, space, answers_overrides=overrides or ())
            plan = require_data(make_plan(request))
        if plan.evaluation is None:
            raise SpaceError(
                f"{plan.request.source}: has no section evaluation; name a space that has one, with --space FILE"
            )
        with _interruption():
            purpose = Purpose(name=name, base=Purpose.base if space is None else space.stem, main=main)
            place = evaluate_again(plan, paths, _ray(address, cpus, dashboard, metrics_port), purpose=purpose)
    evaluation = read_evaluation(place.file)
    verdict = verdict_on_evaluation(plan, paths, evaluation)
    if as_json:
        write(document_text(evaluation_document(paths, place, evaluation, verdict)))
        return
    print_evaluation(screen(), paths, place)
    screen().print()
    print_verdict(screen(), verdict)


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
        plan = plan_collection(request, None if add is None else Additions(data=add, queries=queries, beams=beams))
    check_empty(out)
    with _interruption():
        collect_into(out, plan, _ray(address, cpus, dashboard, metrics_port), partial(_screen, plan))


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
        plan = plan_embedding(request_of_space(space, SharedPaths.beside(runs), overrides=overrides or ()))
    check_empty(out)
    plan = replace(plan, folder=stored_at(out))
    with _interruption():
        embed_into(plan, _ray(address, cpus, dashboard, metrics_port), partial(_screen, plan))


@contextmanager
def _screen(plan: AnyPlan, log_file: StoredPath) -> Iterator[Console]:
    """The console of a run, which begins with what will happen. All other output goes to the log."""
    with quiet(log_file) as console:
        console.print(plan_table(plan))
        if (cost := estimate_here(plan)) is not None:
            console.print(cost_table(cost))
        yield console


def _ray(address: str | None, cpus: int | None, dashboard: bool, metrics_port: int | None) -> RayOptions:
    if address is not None and metrics_port is not None:
        raise RunError("--metrics-port is for a Ray that is started here; the one at --address has its own")
    return RayOptions(address, cpus, dashboard, metrics_port)


def _say(line: str) -> None:
    write_error(f"{line}\n")


def _waiting(what: str) -> Waiting:
    """Says what the command does before there is anything to show."""
    return Waiting(lambda line: write(f"{line}\n"), f"reading {what}, its data and items")


@contextmanager
def _interruption() -> Iterator[None]:
    """Ctrl-C ends the command with 130, as a shell expects. How to go on was said where it was known."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
