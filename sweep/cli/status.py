"""The command `status`. It loads neither torch nor Ray, so that it answers soon."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from sweep.cli.options import RUNS, RunName, Runs, Storage
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
) -> None:
    """Tell whether a run goes on, how far it is, and how its trials stand."""
    found = read_status(find_run(run, runs, storage), lambda line: write_error(f"{line}\n"))
    if as_json:
        write(json.dumps(status_document(found), indent=2) + "\n")
        return
    console = screen()
    if not console.is_terminal and not os.environ.get("COLUMNS"):
        console.width = WIDTH
    print_status(console, found, None if show_all else TRIALS)
