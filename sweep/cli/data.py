"""Commands about training data: data import, data describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from selector.data import DataSettings, load
from selector.data.convert import import_data
from selector.data.description import describe_data
from sweep.cli.options import Embeddings
from sweep.items import open_items
from sweep.plan.checks import check_length
from sweep.plan.make import shared_images
from sweep.report.data import data_document, render_data
from sweep.report.plan import data_table
from sweep.settings.items import ItemsSettings
from sweep.storage.location import local_folder
from sweep.terminal.console import screen
from sweep.terminal.outlet import write

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


@app.command("describe")
def describe(
    data: Annotated[Path, typer.Argument(help="A folder in native form, RL-data JSON, or a folder with it.")],
    embeddings: Embeddings = None,
    items: Annotated[
        Path | None, typer.Option("--items", help="Items in native form, which tell the images of queries apart.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what data can teach: rewards by mode, informative groups, advantages, overlap of pools, shared images."""
    dataset = load(DataSettings(path=data, embeddings=embeddings))
    table = None if items is None else open_items(ItemsSettings(path=items))
    if table is not None:
        check_length(table, dataset)
    found, shared = describe_data(dataset, data), shared_images(dataset, table)
    if as_json:
        write(json.dumps(data_document(found, shared), indent=2) + "\n")
    else:
        screen().print(render_data(found, shared))
