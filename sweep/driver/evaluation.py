"""The end of a run: its best selectors choose demonstrations, the model answers, the answers rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweep.driver.session import Session
from sweep.driver.signals import terminable
from sweep.driver.training import Training
from sweep.errors import SpaceError
from sweep.evaluation.answer_table import write_answers
from sweep.evaluation.evaluate import evaluate as evaluate_panel
from sweep.evaluation.records import Evaluation
from sweep.execution.disk_bound import DiskBound
from sweep.execution.ray.finalists import retrain_all
from sweep.plan.plan import Plan
from sweep.results.evaluations import DECLARED
from sweep.results.policies import panel_of, policies
from sweep.runs.driver import Phase
from sweep.settings.evaluation import SplitName
from sweep.study import TrialSummary
from sweep.trials.finalists import Retrained, finalists
from sweep.vlm.service import AnswerService
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation, accuracy


def evaluate(plan: Plan, training: Training, session: Session) -> Evaluation | None:
    """Have the best trials answer held-out questions. None where the space asks for none, or nothing was completed.

    Raises:
        as `evaluate_trials`.
    """
    if plan.evaluation is None or training.interrupted or not training.completed:
        return None
    evaluation = evaluate_trials(plan, training.ranked, session)
    # Finalists and answers came besides, and the folder has its bound still.
    DiskBound(session.paths, plan.space, session.record.fingerprint, lambda: training.ranked, session.say).enforce()
    return evaluation


def evaluate_trials(plan: Plan, ranked: Sequence[TrialSummary], session: Session) -> Evaluation:
    """Evaluate a run's best trials, and store the answers and the table.

    Args:
        plan: with its evaluation.
        ranked: all trials, the complete ones first, best on top.
        session: the hold on the run.

    Raises:
        RunError: too many questions have no answer, or the model or its workers cannot be had.
    """
    if plan.evaluation is None:
        raise SpaceError(f"space {plan.request.answers.name!r} has no sections evaluation and vlm")
    paths, settings, items = session.paths, plan.evaluation.settings, plan.evaluation.items
    session.cluster(plan.bytes)
    with (
        terminable(),
        AnswerService(
            plan.evaluation.vlm, items, paths.shared.answers_folder, paths.name, session.console, session.pulse.answers
        ) as service,
    ):
        found = policies(paths, ranked, settings.top, settings.epochs_per_trial, _retrain(plan, ranked, session))
        session.pulse.phase(Phase.EVALUATING, "answers")
        answered = reused = 0

        def ask(wanted: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
            nonlocal answered, reused
            given = service.answer_all(wanted, "answering", failure_limit=settings.failure_limit)
            answered, reused = answered + given.counts.answered, reused + given.counts.reused
            return given.results

        def score(item: int, text: str, normalisation: AnswerNormalisation) -> float:
            return accuracy(text, items.answers(item), normalisation)

        panel = panel_of(plan.dataset, items, settings.split, found, settings)
        train = panel_of(plan.dataset, items, SplitName.TRAIN, found, settings) if settings.train_rows else None
        verdicts = [row.verdicts for row in ranked if row.is_complete]
        evaluated = evaluate_panel(panel, settings, ask, score, train, verdicts)
    session.say(f"answered {answered} prompts now, {reused} were known before")
    place = paths.evaluation(DECLARED)
    write_answers(place.answers_file, evaluated.answers)
    evaluated.evaluation.write(place.file)
    return evaluated.evaluation


def _retrain(plan: Plan, ranked: Sequence[TrialSummary], session: Session) -> list[Retrained]:
    """The best configurations, trained again under fresh seeds where the space asks for that."""
    if plan.evaluation is None:
        return []
    settings = plan.evaluation.settings.finalists
    complete = [row for row in ranked if row.is_complete]
    wanted = finalists(session.paths, complete, settings.count, settings.seeds)
    if not wanted:
        return []
    session.pulse.phase(Phase.FINALISTS, "trainings", len(wanted))
    results = []
    for result in retrain_all(session.trial_context(plan), session.paths.name, plan, wanted):
        outcome = f"val_loss {result.val_loss:.4f}" if result.val_loss is not None else f"failed: {result.failure}"
        session.say(f"finalist trial {result.trial}, seed {result.seed}: {outcome}")
        results.append(result)
        session.pulse.progress(len(results))
    return sorted(results, key=lambda result: (result.trial, result.seed))
