"""Commands that read a run folder: export, verify. They need no Ray."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sweep.cli.options import RUNS, AsJson, Embeddings, Moved, RunName, Runs, Storage
from sweep.errors import RunError
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_run
from sweep.report.documents import document_text, export_document, verification_document
from sweep.report.verification import print_verification
from sweep.results.bundle import write_bundle
from sweep.results.export import export as export_checkpoint
from sweep.results.verify import EVALUATIONS
from sweep.results.verify import verify as verified
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.storage.location import local_folder
from sweep.terminal.console import screen
from sweep.terminal.outlet import write
from sweep.terminal.sizes import size_text

app = typer.Typer()


@app.command()
def export(
    run: RunName = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder.")] = Path(
        "selector-export"
    ),
    trial: Annotated[str, typer.Option("--trial", help="`best` or a trial's number.")] = "best",
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", parser=local_folder, help="Pack the whole run: .tar.zst or .tar.gz."),
    ] = None,
    with_data: Annotated[bool, typer.Option("--with-data", help="Pack its data and demo items, too.")] = False,
    runs: Runs = RUNS,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Write the best checkpoint of a run, ready to use; or pack the whole run."""
    paths = find_run(run, runs, storage)
    if bundle is not None:
        _pack(paths, bundle, with_data, as_json)
        return
    if with_data:
        raise RunError("--with-data is for --bundle FILE")
    exported = export_checkpoint(paths, trial, out)
    if as_json:
        write(document_text(export_document(paths, exported)))
        return
    screen().print(exported.sentence, soft_wrap=True, highlight=False, markup=False)


def _pack(paths: RunPaths, file: Path, with_data: bool, as_json: bool) -> None:
    with TemporaryDirectory() as scratch:
        plan = _plan(None, None, Path(scratch), paths) if with_data else None
        found = write_bundle(paths, file, plan)
    if as_json:
        write(document_text({"format": "sweep-bundle/1", "run": paths.name, **asdict(found), "file": str(file)}))
        return
    data = "with its data" if with_data else "without its data"
    write(f"{file}: run {paths.name}, {found.files:,} files, {size_text(found.bytes)} before packing, {data}\n")
    write(f"elsewhere: python -m sweep runs import {file.name}\n")


@app.command()
def verify(
    run: RunName = None,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check hashes only. Needs no data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute every stored number of a run and check the hashes of the rest."""
    paths = find_run(run, runs, storage)
    with TemporaryDirectory() as scratch:
        make = None if quick else partial(_plan, data, embeddings, Path(scratch))
        found = verified(paths, make)
    if as_json:
        write(document_text(verification_document(paths, found)))
        raise typer.Exit(1 if found.faults else 0)
    raise typer.Exit(print_verification(screen(), found))


def _plan(data: Path | None, embeddings: Path | None, scratch: Path, paths: RunPaths) -> Plan:
    answers = Answers.STORED if paths.evaluations_folder.glob(EVALUATIONS) else Answers.UNUSED
    return require_data(make_plan(request_of_run(paths, data, embeddings, scratch=scratch), answers))
