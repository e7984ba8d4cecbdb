"""The command `report`: everything that is known of a run as one page, as Markdown or as JSON."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sweep.cli.options import RUNS, AsJson, Embeddings, Moved, RunName, Runs, Storage
from sweep.errors import RunError
from sweep.report.documents import document_text
from sweep.report.markdown import markdown_of
from sweep.report.overview import overview_document
from sweep.report.page.page import page_of
from sweep.results.overview.make import overview
from sweep.results.overview.sources import read_material
from sweep.runs.find import find_run
from sweep.storage.local import stored_at
from sweep.storage.location import local_folder
from sweep.terminal.console import screen
from sweep.terminal.outlet import write

app = typer.Typer()


@app.command()
def report(
    run: RunName = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            parser=local_folder,
            help="Where it is written; default: report.html in the run's folder, other forms on the screen.",
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown instead of the page.")] = False,
    as_json: AsJson = False,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
) -> None:
    """Write everything that is known of a run as one HTML page that needs no network."""
    if markdown and as_json:
        raise RunError("--markdown and --json exclude each other: name one of them")
    paths = find_run(run, runs, storage)
    with TemporaryDirectory() as scratch:
        document = overview(paths, read_material(paths, data, embeddings, Path(scratch)))
    text = markdown_of(document) if markdown else document_text(overview_document(document)) if as_json else None
    if text is not None and out is None:
        write(text)
        return
    file = paths.report_file if out is None else stored_at(out)
    file.write_text(page_of(document) if text is None else text)
    screen().print(f"{document.headline}\n-> {file.shown}", soft_wrap=True, highlight=False, markup=False)
