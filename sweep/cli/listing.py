"""The command `list`. It loads neither torch nor Optuna, so that it answers soon."""

from __future__ import annotations

import typer

from sweep.cli.options import RUNS, AsJson, Runs
from sweep.report.finite import document_text
from sweep.report.listing import print_runs, runs_document
from sweep.results.listing import list_runs
from sweep.terminal.console import screen
from sweep.terminal.outlet import write, write_error

app = typer.Typer()


@app.command("list")
def list_all(runs: Runs = RUNS, as_json: AsJson = False) -> None:
    """List the runs of a folder, the newest first: state, best trial, size, verdict."""
    rows = list_runs(runs, lambda line: write_error(f"{line}\n"))
    if as_json:
        write(document_text(runs_document(rows, runs.shown)))
    else:
        print_runs(screen(), rows, runs.shown)
