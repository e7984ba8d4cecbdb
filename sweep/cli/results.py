"""Commands that read a run folder: export, verify. They need no Ray."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sweep.cli.options import RUNS, Embeddings, Moved, RunName, Runs, Storage
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import require_data
from sweep.plan.requests import request_of_run
from sweep.report.terminal import print_verification
from sweep.results.evaluations import main_evaluation
from sweep.results.export import export as export_checkpoint
from sweep.results.verify import verify as verify_epochs
from sweep.results.verify import verify_answers
from sweep.runs.find import find_run
from sweep.storage.location import local_folder
from sweep.terminal.console import screen

app = typer.Typer()


@app.command()
def export(
    run: RunName = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", parser=local_folder, help="A new folder.")] = Path(
        "selector-export"
    ),
    trial: Annotated[str, typer.Option("--trial", help="`best` or a trial's number.")] = "best",
    runs: Runs = RUNS,
    storage: Storage = None,
) -> None:
    """Write the best checkpoint of a run, ready to use."""
    exported = export_checkpoint(find_run(run, runs, storage), trial, out)
    screen().print(exported.sentence, soft_wrap=True, highlight=False, markup=False)


@app.command()
def verify(
    run: RunName = None,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
) -> None:
    """Recompute the ranked numbers of a run from its checkpoints and stored answers."""
    paths = find_run(run, runs, storage)
    answers = Answers.STORED if main_evaluation(paths) else Answers.UNUSED
    with TemporaryDirectory() as scratch:
        plan = require_data(make_plan(request_of_run(paths, data, embeddings, scratch=Path(scratch)), answers))
        raise typer.Exit(print_verification(screen(), verify_epochs(paths, plan), verify_answers(paths, plan)))
