"""The command `status`. It loads neither torch nor Ray, so that it answers soon."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from sweep.cli.options import RUNS, Follow, RunName, Runs, Server, Storage, Verify
from sweep.cli.submitted import show_status
from sweep.errors import RunError
from sweep.report.status import TRIALS, WIDTH, print_status
from sweep.results.status import read_status, status_document
from sweep.runs.find import find_run
from sweep.terminal.console import screen
from sweep.terminal.outlet import write, write_error

app = typer.Typer()


@app.command()
def status(
    run: RunName = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    show_all: Annotated[bool, typer.Option("--all", help=f"All trials, not only the first {TRIALS}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for programs.")] = False,
    address: Server = None,
    verify: Verify = None,
    follow: Follow = False,
) -> None:
    """Tell whether a run goes on, how far it is, and how its trials stand."""
    if address is not None:
        options = [*(["--all"] if show_all else []), *(["--json"] if as_json else [])]
        show_status(address, verify, run, options, log=follow)
    if follow:
        raise RunError("--follow is for a run that was handed in: name its cluster with --address URL")
    found = read_status(find_run(run, runs, storage), lambda line: write_error(f"{line}\n"))
    if as_json:
        write(json.dumps(status_document(found), indent=2) + "\n")
        return
    console = screen()
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = WIDTH
    print_status(console, found, None if show_all else TRIALS)
