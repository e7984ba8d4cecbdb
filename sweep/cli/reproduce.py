"""The command that trains a trial again and compares. It needs no Ray and no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from selector.data import Dataset, load
from sweep.cli.options import RUNS, AsJson, Embeddings, Moved, Runs, Storage
from sweep.errors import RunError
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_run
from sweep.report.documents import document_text
from sweep.report.reproduction import print_reproduction, reproduction_document
from sweep.results.export import chosen_checkpoint
from sweep.results.reproduce import reproduce as trained_again
from sweep.results.trained import Trained, data_of_export, is_export, trained_in_export, trained_in_run
from sweep.results.verify_study import TOLERANCE
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.path import StoredPath
from sweep.terminal.console import screen
from sweep.terminal.outlet import write, write_error

SECONDS = 5.0
"""Between two lines on how far the training is."""

app = typer.Typer()


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="A run's folder or name, or the folder of an export.")],
    trial: Annotated[
        str | None, typer.Option("--trial", help="Of a run: `best` or a trial's number; default: best.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="The trial's finalist under this fresh seed, instead of it.")
    ] = None,
    epoch: Annotated[
        int | None,
        typer.Option("--epoch", min=1, help="Train up to this stored epoch and compare its checkpoint; default: all."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", help="Of val_loss and weights, relative. With 0 only what is equal to the bit is the same."
        ),
    ] = TOLERANCE,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Train a trial again and say whether it comes out the same. Writes nothing into the run."""
    with TemporaryDirectory() as scratch:
        if is_export(Path(run)):
            if (trial, seed, epoch) != (None, None, None):
                raise RunError(f"{run} is an export, of one epoch of one trial: leave out --trial, --seed and --epoch")
            trained = trained_in_export(Path(run))
            dataset = _data_of_export(Path(run), trained, data, embeddings, runs, Path(scratch))
        else:
            paths = find_run(run, runs, storage)
            plan = _plan(paths, data, embeddings, Path(scratch))
            trained = trained_in_run(paths, plan, _number(paths, trial), seed)
            dataset = plan.dataset
        say = _Progress(write_error if as_json else write)
        say.line(f"training {trained.label} again ...")
        try:
            found = trained_again(trained, dataset, epoch, tolerance, say)
        except KeyboardInterrupt:  # 1 would mean that it is not the same
            raise typer.Exit(130) from None
    if as_json:
        write(document_text(reproduction_document(found)))
    else:
        print_reproduction(screen(), found)
    raise typer.Exit(0 if found.is_same else 1)


class _Progress:
    """A line every few seconds, however short an epoch is."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._last = show, time.monotonic()

    def line(self, text: str) -> None:
        """In any case."""
        self._show(f"{text}\n")

    def __call__(self, text: str) -> None:
        if time.monotonic() - self._last >= SECONDS:
            self._last = time.monotonic()
            self.line(f"  {text}")


def _number(paths: RunPaths, trial: str | None) -> int:
    if trial is None or not trial.isdecimal():
        return chosen_checkpoint(paths, trial or "best")[0]
    return int(trial)


def _plan(paths: RunPaths, data: Path | None, embeddings: Path | None, scratch: Path) -> Plan:
    return require_data(make_plan(request_of_run(paths, data, embeddings, scratch=scratch), Answers.UNUSED))


def _data_of_export(
    folder: Path, trained: Trained, data: Path | None, embeddings: Path | None, runs: StoredPath, scratch: Path
) -> Dataset:
    """What the user names. Otherwise what the run has that it comes from, if that run is among the user's."""
    if data is not None:
        return load(data_of_export(folder, data, embeddings))
    for file in runs.glob("[!._]*/run.json"):
        paths = RunPaths(file.parent)
        if read_record(paths).data_fingerprint == trained.fingerprint:
            return _plan(paths, None, embeddings, scratch).dataset
    raise RunError(
        f"{folder}: no run in {runs} has its data (fingerprint {trained.fingerprint[:16]}); name the data with --data"
    )
