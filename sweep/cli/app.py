"""Sweeps of selector training: check a search space, run its trials, watch them, take the best home."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from selector.data.convert import import_data
from selector.errors import UserError
from sweep.cli.options import RUNS, Address, Cpus, Dashboard, Data, Embeddings, Moved, RunName, Runs, Space
from sweep.collect.store import check_empty
from sweep.driver.create import create_run, discarded_if_unstarted
from sweep.driver.run import collect_only, execute, reevaluate
from sweep.errors import RunError
from sweep.execution.ray.options import RayOptions
from sweep.plan.plan import Draft, Plan
from sweep.plan.prompt import rendered_prompt
from sweep.plan.requests import judged_by, make_draft, make_request, plan_of_run, request_of_run
from sweep.report import terminal as show
from sweep.results import export as exporting
from sweep.results.verify import verify as verify_epochs
from sweep.results.verify import verify_answers
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.space import json_schema
from sweep.storage.location import local_folder
from sweep.storage.outage import is_outage, told
from sweep.terminal.console import quiet, screen

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
data_app = typer.Typer(no_args_is_help=True, help="Training data.")
app.add_typer(data_app, name="data")


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
) -> None:
    """Check everything, run the trials, rank them."""
    plan = make_request(space, data, embeddings, SharedPaths.beside(runs))
    paths = create_run(plan, runs, name)
    with discarded_if_unstarted(paths):
        _drive(plan, paths, RayOptions(address, cpus, dashboard))


@app.command()
def resume(
    run: RunName = None,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
) -> None:
    """Continue a run that was interrupted: finished trials stay, the others go on from their last epoch."""
    paths = find_run(run, runs)
    _drive(request_of_run(paths, data, embeddings), paths, RayOptions(address, cpus, dashboard))


def _drive(plan: Plan | Draft, paths: RunPaths, ray: RayOptions) -> None:
    screen().print(show.plan_table(plan))
    with quiet(paths.log_file) as console:
        try:
            outcome = execute(plan, paths, console, ray)
        except KeyboardInterrupt:  # while Ray starts, or the second Ctrl-C
            show.interrupted(console, paths)
            raise typer.Exit(130) from None
        except OSError as error:
            if not is_outage(error):
                raise
            raise RunError(f"{told(error)}; once mended, `python -m sweep resume {paths.shown}` goes on") from error
        show.outcome(console, outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def validate(space: Space, data: Data = None, embeddings: Embeddings = None, runs: Runs = RUNS) -> None:
    """Check a space and its data, and print what would run. Starts nothing."""
    with TemporaryDirectory() as scratch:
        plan = make_request(space, data, embeddings, SharedPaths.beside(runs, Path(scratch)))
    screen().print(show.plan_table(plan), show.parameter_table(plan), "valid")


@app.command()
def status(run: RunName = None, runs: Runs = RUNS) -> None:
    """Print the trials of a running or finished run."""
    show.status(screen(), find_run(run, runs))


@app.command()
def evaluate(
    run: RunName = None,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="Take items, vlm and evaluation from this YAML file instead of the run's space."),
    ] = None,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
) -> None:
    """Have the best trials' demonstrations answered by the model, and rank by the answers."""
    paths = find_run(run, runs)
    plan = judged_by(plan_of_run(paths, data, embeddings), space)
    with quiet(paths.log_file) as console:
        try:
            found = reevaluate(plan, paths, console, RayOptions(address, cpus, dashboard))
        except KeyboardInterrupt:
            console.print(f"interrupted; continue with: python -m sweep evaluate {paths.shown}", soft_wrap=True)
            raise typer.Exit(130) from None
        show.evaluation(console, found)


@app.command()
def collect(
    space: Space,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder for the data, in native form."),
    ],
    runs: Runs = RUNS,
    address: Address = None,
    cpus: Cpus = None,
    dashboard: Dashboard = True,
) -> None:
    """Measure the beams of a space with its model: the data that trials are trained on."""
    shared = SharedPaths.beside(runs)
    planned = make_draft(space, shared)
    check_empty(out)
    screen().print(show.plan_table(planned))
    with quiet(shared.root / "collect.log") as console:
        try:
            collect_only(planned, out, shared, console, RayOptions(address, cpus, dashboard))
        except KeyboardInterrupt:
            console.print("interrupted; the same command goes on, what was answered is kept", soft_wrap=True)
            raise typer.Exit(130) from None


@app.command("show-prompt")
def show_prompt(
    space: Space,
    query: Annotated[int, typer.Option("--query", min=0, help="Item id of the question.")],
    demonstrations: Annotated[str, typer.Option("--demonstrations", help="Item ids in order, such as 17,4.")] = "",
    runs: Runs = RUNS,
) -> None:
    """Print exactly what the model reads for one question, and which images."""
    with TemporaryDirectory() as scratch:
        shared = SharedPaths.beside(runs, Path(scratch))
        sys.stdout.write(rendered_prompt(space, query, demonstrations, shared) + "\n")


@app.command()
def export(
    run: RunName = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder.")] = Path(
        "selector-export"
    ),
    trial: Annotated[str, typer.Option("--trial", help="`best` or a trial's number.")] = "best",
    runs: Runs = RUNS,
) -> None:
    """Write the best checkpoint of a run, ready to use."""
    exported = exporting.export(find_run(run, runs), trial, out)
    screen().print(exported.sentence, soft_wrap=True, highlight=False, markup=False)


@app.command()
def verify(run: RunName = None, data: Moved = None, embeddings: Embeddings = None, runs: Runs = RUNS) -> None:
    """Recompute the ranked numbers of a run from its checkpoints and stored answers."""
    paths = find_run(run, runs)
    plan = plan_of_run(paths, data, embeddings)
    raise typer.Exit(show.verification(screen(), verify_epochs(paths, plan), verify_answers(paths, plan)))


@app.command()
def schema() -> None:
    """Print the JSON schema of a search space, for editors."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


@data_app.command("import")
def data_import(
    data: Annotated[Path, typer.Argument(help="RL-data JSON, or a folder with it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder.")],
    embeddings: Embeddings = None,
    keep_fallback: Annotated[bool, typer.Option(help="Keep beams measured by the fallback evaluation.")] = False,
) -> None:
    """Check training data once and store it in the native columnar form."""
    screen().print(show.data_table(import_data(data, embeddings, out, keep_fallback)))


def main() -> None:
    """Entry point: user errors end as one line on stderr."""
    try:
        app()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except OSError as error:  # a full disk, a folder without permission: the system's answer is the message
        sys.stderr.write(f"error: {told(error)}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
