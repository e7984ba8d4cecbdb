"""Commands about training data: data import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selector.data.convert import import_data
from sweep.cli.options import Embeddings
from sweep.report.plan import data_table
from sweep.storage.location import local_folder
from sweep.terminal.console import screen

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Training data.")


@app.callback()
def data() -> None:
    """Training data."""


@app.command("import")
def convert(
    data: Annotated[Path, typer.Argument(help="RL-data JSON, or a folder with it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder.")],
    embeddings: Embeddings = None,
    keep_fallback: Annotated[bool, typer.Option(help="Keep beams measured by the fallback evaluation.")] = False,
) -> None:
    """Check training data once and store it in the native columnar form."""
    screen().print(data_table(import_data(data, embeddings, out, keep_fallback)))
