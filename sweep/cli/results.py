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
from sweep.results.card import LICENSE_UNKNOWN, CardOptions
from sweep.results.export import ExportOptions, Format, export_given, names_a_path, pushed
from sweep.results.export import export as export_checkpoint
from sweep.results.verify import EVALUATIONS
from sweep.results.verify import verify as verified
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.storage.location import local_folder
from sweep.terminal.console import screen
from sweep.terminal.outlet import write
from sweep.terminal.sizes import size_text
from sweep.trials.given import read_whole

app = typer.Typer()


@app.command()
def export(
    run: RunName = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder.")] = Path(
        "selector-export"
    ),
    trial: Annotated[
        str, typer.Option("--trial", help="`best`, a trial's number, or the path of a selector from elsewhere.")
    ] = "best",
    epoch: Annotated[int | None, typer.Option("--epoch", min=1, help="Another stored epoch of that trial.")] = None,
    formats: Annotated[
        list[Format] | None, typer.Option("--format", help="What lies beside the safetensors; may be repeated.")
    ] = None,
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="Upload to the Hugging Face hub as well.")
    ] = None,
    shots: Annotated[int | None, typer.Option("--shots", min=1, max=64, help="Picks of torch-export.")] = None,
    license_: Annotated[str, typer.Option("--license", help="The hub's identifier, such as mit.")] = LICENSE_UNKNOWN,
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", metavar="OWNER/NAME", help="The model that is shown the picks."),
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", metavar="NAME", help="Its data on the hub; may be repeated.")
    ] = None,
    heads: Annotated[int | None, typer.Option("--heads", min=1, help="Heads of a file of Lever-Plus: 1.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="Of such a file, which does not say it either.")
    ] = None,
    dropout: Annotated[float | None, typer.Option("--dropout", help="Of such a file, for training on.")] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", parser=local_folder, help="Pack the whole run: .tar.zst or .tar.gz."),
    ] = None,
    with_data: Annotated[bool, typer.Option("--with-data", help="Pack its data and demo items, too.")] = False,
    runs: Runs = RUNS,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Write the best checkpoint of a run, or a selector from elsewhere, as people share models; or pack a whole run."""
    options = ExportOptions(formats or (), shots, CardOptions(license_, base_model, dataset or ()))
    if bundle is not None:
        _pack(find_run(run, runs, storage), bundle, with_data, as_json)
        return
    if with_data:
        raise RunError("--with-data is for --bundle FILE")
    paths = None
    if names_a_path(trial):
        if epoch is not None:
            raise RunError(f"--epoch {epoch}: {trial} is one selector and no trial; leave it out")
        exported = export_given(read_whole(Path(trial), heads, temperature, dropout), out, options)
    else:
        paths = find_run(run, runs, storage)
        exported = export_checkpoint(paths, trial, out, epoch, options)
    commit = None if push is None else pushed(exported, push)
    if as_json:
        write(document_text(export_document(paths, exported, commit)))
        return
    lines = [exported.sentence, *([] if commit is None else [f"uploaded: {commit}"])]
    screen().print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


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
