"""Commands that say what a run teaches: doctor, next. They need no Ray and no model."""

from __future__ import annotations

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
from sweep.report.doctor import diagnosis_document, next_document, render_diagnosis, render_next
from sweep.report.documents import document_text
from sweep.results.doctor import diagnose
from sweep.results.evidence import Evidence, read_evidence
from sweep.results.next_space import next_space
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.terminal.console import screen
from sweep.terminal.outlet import write

app = typer.Typer()


@app.command()
def doctor(
    run: RunName = None,
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a run, worst first, with what shows it and the change to make."""
    paths = find_run(run, runs, storage)
    found = diagnose(_evidence(paths, data, embeddings))
    if as_json:
        write(document_text(diagnosis_document(paths, found)))
    else:
        screen().print(render_diagnosis(found))


@app.command("next")
def following(
    run: RunName = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A new YAML file.")] = Path("next.yaml"),
    data: Moved = None,
    embeddings: Embeddings = None,
    runs: Runs = RUNS,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Write the space to try next, from what doctor finds: ranges, epochs, pruner, and the best points first."""
    if out.exists():
        raise RunError(f"{out} exists; name a new file with --out")
    paths = find_run(run, runs, storage)
    evidence = _evidence(paths, data, embeddings)
    request = request_of_run(paths)
    found = next_space(paths.name, request.text, request.overrides, evidence, diagnose(evidence))
    out.write_text(found.text, encoding="utf-8")
    if as_json:
        write(document_text(next_document(paths, found, str(out))))
    else:
        screen().print(render_next(found, str(out)))


def _evidence(paths: RunPaths, data: Path | None, embeddings: Path | None) -> Evidence:
    with TemporaryDirectory() as scratch:
        return read_evidence(paths, partial(_plan, paths, data, embeddings, Path(scratch)))


def _plan(paths: RunPaths, data: Path | None, embeddings: Path | None, scratch: Path) -> Plan:
    request = request_of_run(paths, data, embeddings, scratch=scratch)
    return require_data(make_plan(request, Answers.STORED if request.answers.evaluation else Answers.UNUSED))
