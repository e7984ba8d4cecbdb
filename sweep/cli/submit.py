"""The command `submit`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sweep.cli.app import load_command
from sweep.cli.options import Follow, Server, Space, Verify, with_loggers
from sweep.cli.submitted import follow_job, open_server, print_lines, shown_columns
from sweep.errors import RunError
from sweep.execution.ray.jobs import JobServer
from sweep.storage.location import is_uri
from sweep.submission.command import HOME_RUNS, quoted
from sweep.submission.contents import Named
from sweep.submission.needs import describe
from sweep.submission.submit import RunOptions, Submission, check_cluster, hand_in, prepare
from sweep.submission.surroundings import surroundings

app = typer.Typer()

DECIDED = {
    "address": "--address names the cluster before the --; on it the run joins by itself",
    "cpus": "--cpus is for a Ray that a run starts itself",
    "metrics_port": "--metrics-port is for a Ray that a run starts itself",
    "detach": "a job needs no terminal; leave --detach out",
    "resume_existing": "a job always goes on with the run of its --name; leave --resume out",
}
"""Options of `run` that a job cannot have, and why."""


@app.command()
def submit(
    space: Space,
    run_options: Annotated[
        list[str] | None, typer.Argument(metavar="[-- RUN OPTIONS]", help="Options of `run`, behind two dashes.")
    ] = None,
    address: Server = None,
    follow: Follow = False,
    working_dir: Annotated[
        Path | None,
        typer.Option(
            "--working-dir",
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Send the code of this source tree, without what git ignores; default: the code that runs here.",
        ),
    ] = None,
    pip: Annotated[
        list[str] | None,
        typer.Option(
            "--pip",
            metavar="WHAT",
            help="Have each node install a requirement, those of a FILE.txt, or with `same` the versions of this "
            "machine; may be repeated. Default: what the cluster has.",
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="URI", help="Run in this container image, which holds this program too."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="A variable of driver and workers; no place for secrets."),
    ] = None,
    python: Annotated[str, typer.Option("--python", help="The interpreter's command on the cluster.")] = "python",
    verify: Verify = None,
) -> None:
    """Hand a run in to a Ray cluster, as a job: the space and the code travel. What it cannot give is said before."""
    options = run_options_of(space, run_options or [])
    submission = prepare(space, options, surroundings(pip or (), image, env or (), python), working_dir)
    server = open_server(address, verify)
    check_cluster(server, submission)
    print_lines(("cluster", f"{server.url}: {describe(server.nodes())}"), *submission.lines())
    name = hand_in(server, submission, shown_columns())
    print_lines(("job", name), ("run", submission.run), *_next_steps(server, submission))
    if follow:
        follow_job(server, name)


def run_options_of(space: str, words: Sequence[str]) -> RunOptions:
    """What the options of `run` say. They are checked as `run` checks them.

    Raises:
        typer.BadParameter: as `run` would.
        RunError: an option that a job cannot have.
    """
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    known.add_argument("--runs", default=HOME_RUNS)
    known.add_argument("--name")
    try:
        decided, rest = known.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise typer.BadParameter(str(error)) from None
    params = _parsed(space, rest)
    for name, why in DECIDED.items():
        if params[name]:
            raise RunError(why)
    paths = [Named(f"--{name}", str(params[name])) for name in ("data", "embeddings") if params[name] is not None]
    overrides = with_loggers(params["overrides"], params["log"])
    replaced = ("data",) if params["data"] is not None else ()
    return RunOptions(decided.name, decided.runs, tuple(paths), replaced, overrides, tuple(rest))


def _parsed(space: str, words: Sequence[str]) -> dict[str, Any]:
    return dict(load_command("run").make_context("run", [space, *words]).params)


def _next_steps(server: JobServer, submission: Submission) -> list[tuple[str, str]]:
    run, at = quoted(submission.run), f"--address {quoted(server.url)}"
    steps = [(name, f"python -m sweep {name} {run} {at}") for name in ("status", "stop", "resume")]
    steps.insert(0, ("follow", f"{steps[0][1]} --follow"))
    if is_uri(submission.runs):
        steps.append(("read", f"python -m sweep status {quoted(f'{submission.runs}/{submission.run}')}"))
    return steps
