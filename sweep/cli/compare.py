"""The command that compares selectors. It needs no Ray and no model."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sweep.cli.options import RUNS, Embeddings, Moved, Runs, Storage
from sweep.evaluation.questions import choose_questions, images_of
from sweep.plan.make import Answers, make_plan
from sweep.plan.plan import require_data
from sweep.plan.requests import request_of_run
from sweep.report.compare import comparison_document, render_comparison
from sweep.results.compare import compare_sides
from sweep.results.sides import open_side
from sweep.runs.find import find_run
from sweep.settings.evaluation import SplitName
from sweep.terminal.console import screen
from sweep.terminal.outlet import write

app = typer.Typer()


@app.command()
def compare(
    run: Annotated[str, typer.Argument(help="The run whose data they select from: its folder or name.")],
    selectors: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="Trials (3), their epochs (3@12), those of other runs (RUN/3), exported folders, and files of "
            "Lever-Plus (.pt, .ckpt). All are compared with the first.",
        ),
    ],
    split: Annotated[SplitName, typer.Option("--split", help="Whose questions they select for.")] = SplitName.VAL,
    shots: Annotated[
        int | None, typer.Option("--shots", min=1, max=64, help="Most demonstrations; default: as evaluated.")
    ] = None,
    heads: Annotated[
        int | None, typer.Option("--heads", min=1, help="Attention heads of files of Lever-Plus, which do not say: 1.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
) -> None:
    """Say how two or more selectors differ: weights, selections, curves, answers."""
    paths = find_run(run, runs, storage)
    with TemporaryDirectory() as scratch:
        request = request_of_run(paths, data, embeddings, scratch=Path(scratch))
        plan = require_data(make_plan(request, Answers.STORED if request.answers.evaluation else Answers.UNUSED))
        sides = [open_side(text, paths, plan.space.health, heads) for text in selectors]
        settings = None if plan.evaluation is None else plan.evaluation.settings
        images = None if plan.evaluation is None else images_of(plan.evaluation.items)
        questions = choose_questions(plan.dataset, split, None, 0 if settings is None else settings.seed, images)
        most = shots or (plan.dataset.picks if settings is None else settings.shot_numbers[-1])
        found = compare_sides(sides, plan.dataset, questions, most, images)
    if as_json:
        write(json.dumps(comparison_document(found), indent=2) + "\n")
    else:
        screen().print(render_comparison(found))
