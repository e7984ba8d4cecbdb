"""A run as a story: create, collect, train, evaluate, rank."""

from __future__ import annotations

from sweep.driver.collection import collect
from sweep.driver.create import NewRun, created
from sweep.driver.evaluation import evaluate, evaluate_trials
from sweep.driver.session import OpenScreen, Session, open_session
from sweep.driver.training import Training, train
from sweep.errors import RunError
from sweep.evaluation.records import Evaluation
from sweep.execution.ray.options import RayOptions
from sweep.plan.plan import CollectionPlan, Plan
from sweep.results.outcome import RunOutcome
from sweep.results.ranking import held_out_rows, ranking_document
from sweep.runs.paths import RunPaths
from sweep.study import read_summaries
from sweep.study.ranking import rank
from sweep.terminal.console import quiet


def execute(
    plan: Plan | CollectionPlan, run: NewRun | RunPaths, ray: RayOptions, open_screen: OpenScreen = quiet
) -> RunOutcome:
    """Carry out a plan, or what is left of it.

    Every stage finds by itself what an earlier driver has done already, so that a run that was interrupted anywhere
    goes on from there.

    Args:
        plan: what is to be done. Where its data is still to be measured, that comes first.
        run: a run to be created, or one that exists and goes on.
        ray: which Ray is used.
        open_screen: gives the console that people see.

    Raises:
        RunError: another driver holds the run, the data changed, or the study failed on the way.
        ClusterError: Ray cannot be had. A run that was created for this is removed again.
        KeyboardInterrupt: interrupted while no trial was running. The run can be resumed.
    """
    with created(run, plan) as paths, open_session(paths, ray, open_screen) as session:
        session.keep_overrides(plan.request.overrides)
        plan = collect(plan, session)
        session.check_unchanged(plan)
        training = train(plan, session)
        evaluation = evaluate(plan, training, session)
        return _rank(plan, training, evaluation, session)


def _rank(plan: Plan, training: Training, evaluation: Evaluation | None, session: Session) -> RunOutcome:
    """Compare what was trained, and write `ranking.json`, which says that the run has ended."""
    ranked, paths = training.ranked, session.paths
    held_out = held_out_rows(plan, paths, ranked) if evaluation is None and training.completed else []
    if not training.interrupted:
        paths.ranking_file.write_json(ranking_document(plan, ranked, held_out, evaluation))
    return RunOutcome(paths, ranked, held_out, evaluation, training.interrupted, training.ended_because)


def evaluate_again(plan: Plan, paths: RunPaths, ray: RayOptions, open_screen: OpenScreen = quiet) -> Evaluation:
    """Evaluate a run again, or for the first time. Trials that have not ended are left alone.

    Raises:
        RunError: no trial is complete, another driver holds the run, or the evaluation cannot be done.
    """
    with open_session(paths, ray, open_screen, "evaluate") as session:
        session.check_unchanged(plan)
        ranked = rank(read_summaries(session.record.storage_url(paths), session.record.study))
        if not any(row.is_complete for row in ranked):
            raise RunError(f"run {paths.name} has no complete trial yet, so there is nothing to evaluate")
        evaluation = evaluate_trials(plan, ranked, session)
        paths.ranking_file.write_json(ranking_document(plan, ranked, [], evaluation))
    return evaluation
