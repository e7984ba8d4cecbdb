"""What the commands that drive a run do. It brings torch, so it is loaded when their space is known to be right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import typer
from rich.console import Console

from sweep.cli.detach import Detached
from sweep.collect.extend import Additions
from sweep.collect.store import check_empty
from sweep.driver.collection import collect_into
from sweep.driver.create import NewRun
from sweep.driver.embedding import embed_into
from sweep.driver.loggers import ending_of, open_loggers
from sweep.driver.run import evaluate_again, execute
from sweep.evaluation.records import read_evaluation
from sweep.execution.ray.options import RayOptions
from sweep.plan.collection import plan_collection, plan_embedding
from sweep.plan.cost.estimate import estimate_here
from sweep.plan.make import make_plan
from sweep.plan.plan import AnyPlan, CollectionPlan, EmbeddingPlan, Plan, require_data
from sweep.report.cost import cost_table
from sweep.report.documents import document_text, evaluation_document
from sweep.report.page.write import write_report
from sweep.report.plan import plan_table
from sweep.report.terminal import print_evaluation, print_outcome
from sweep.report.verdict import print_verdict
from sweep.results.evaluations import Purpose
from sweep.results.verdict import verdict_on_evaluation
from sweep.runs.paths import EvaluationPaths, RunPaths
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.terminal.console import quiet, screen
from sweep.terminal.outlet import write

__all__ = [
    "Additions",
    "NewRun",
    "Purpose",
    "collect_data",
    "drive",
    "embed_items",
    "evaluate_run",
    "make_plan",
    "plan_collection",
    "plan_embedding",
    "require_data",
    "show_evaluation",
]


def drive(plan: AnyPlan, run: NewRun | RunPaths, ray: RayOptions, detached: Detached, rebuild: bool = False) -> None:
    """Carry out a plan. Ends the command with the run's exit code."""
    with interruption(), open_loggers(plan.space.loggers) as loggers:
        outcome = execute(plan, run, ray, partial(_screen, plan), detached.started, rebuild, loggers)
        print_outcome(screen(), outcome)
        if not outcome.interrupted:
            screen().print(write_report(outcome.paths, plan), soft_wrap=True, highlight=False, markup=False)
        loggers.end(ending_of(outcome))
    raise typer.Exit(outcome.exit_code)


def evaluate_run(plan: Plan, paths: RunPaths, ray: RayOptions, purpose: Purpose) -> EvaluationPaths:
    """Have the model asked about a run's best trials."""
    with interruption():
        return evaluate_again(plan, paths, ray, purpose=purpose)


def show_evaluation(plan: Plan, paths: RunPaths, place: EvaluationPaths, *, as_json: bool) -> None:
    """What an evaluation has shown."""
    evaluation = read_evaluation(place.file)
    verdict = verdict_on_evaluation(plan, paths, evaluation)
    if as_json:
        write(document_text(evaluation_document(paths, place, evaluation, verdict)))
        return
    print_evaluation(screen(), paths, place)
    screen().print()
    print_verdict(screen(), verdict)


def collect_data(plan: CollectionPlan | EmbeddingPlan, out: Path, ray: RayOptions) -> None:
    """Measure the beams of a plan, into a new folder."""
    check_empty(out)
    with interruption():
        collect_into(out, plan, ray, partial(_screen, plan))


def embed_items(plan: EmbeddingPlan, out: Path, ray: RayOptions) -> None:
    """Embed the items of a plan, into a new folder."""
    check_empty(out)
    with interruption():
        plan = replace(plan, folder=stored_at(out))
        embed_into(plan, ray, partial(_screen, plan))


@contextmanager
def _screen(plan: AnyPlan, log_file: StoredPath) -> Iterator[Console]:
    """The console of a run, which begins with what will happen. All other output goes to the log."""
    with quiet(log_file) as console:
        console.print(plan_table(plan))
        if (cost := estimate_here(plan)) is not None:
            console.print(cost_table(cost))
        yield console


@contextmanager
def interruption() -> Iterator[None]:
    """Ctrl-C ends the command with 130, as a shell expects. How to go on was said where it was known."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
