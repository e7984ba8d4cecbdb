"""Commands about a search space, before anything runs: validate, show-prompt, show-space, schema."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from sweep.cli.options import RUNS, AsJson, Data, Embeddings, Runs, Set, Space
from sweep.plan.cost.estimate import estimate
from sweep.plan.cost.limits import free_bytes, lacks
from sweep.plan.cost.measure import measure
from sweep.plan.cost.work import Works
from sweep.plan.machine import Machine, lacking
from sweep.plan.make import make_plan
from sweep.plan.prompt import rendered_prompt
from sweep.plan.requests import request_of_space
from sweep.report.cost import cost_table
from sweep.report.documents import document_text, plan_document
from sweep.report.plan import parameter_table, plan_table
from sweep.runs.paths import SharedPaths
from sweep.space import find_space, json_schema
from sweep.terminal.console import screen
from sweep.terminal.outlet import write

app = typer.Typer()


@app.command()
def validate(
    space: Space,
    data: Data = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    overrides: Set = None,
    as_json: AsJson = False,
    measured: Annotated[
        bool,
        typer.Option("--measure", help="Take speeds on this machine, for about ten seconds, and say the hours."),
    ] = False,
) -> None:
    """Check a space and its data, and print what would run and what it will cost. Starts nothing."""
    machine = Machine.here()
    with TemporaryDirectory() as scratch:
        shared = SharedPaths.beside(runs, Path(scratch))
        plan = make_plan(request_of_space(space, shared, data, embeddings, overrides or ()))
        works = Works.of(plan)
        cost = estimate(plan, works, machine, measure(plan.space, works) if measured else None)
    warnings = [*lacking(plan.space, machine), *lacks(cost, plan.space, machine, free_bytes(runs))]
    if as_json:
        write(document_text(plan_document(plan, cost, warnings)))
        return
    screen().print(plan_table(plan), parameter_table(plan), cost_table(cost))
    for warning in warnings:
        screen().print(f"warning: {warning}")
    screen().print("valid")


@app.command("show-prompt")
def show_prompt(
    space: Space,
    query: Annotated[int, typer.Option("--query", min=0, help="Item id of the question.")],
    demonstrations: Annotated[
        str | None,
        typer.Option("--demonstrations", help="Item ids in order, such as 17,4; default: two of other images."),
    ] = None,
    runs: Runs = RUNS,
) -> None:
    """Print exactly what the model reads for one question, and which images."""
    with TemporaryDirectory() as scratch:
        shared = SharedPaths.beside(runs, Path(scratch))
        write(rendered_prompt(space, query, demonstrations, shared) + "\n")


@app.command("show-space")
def show_space(space: Space) -> None:
    """Print a search space that ships, to make a copy of."""
    write(find_space(space)[0])


@app.command()
def schema() -> None:
    """Print the JSON schema of a search space, for editors."""
    write(json.dumps(json_schema(), indent=2) + "\n")
