"""The end of a run: its best selectors choose demonstrations, the model answers, the answers rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from sweep.driver.looks import look_of, source_of
from sweep.driver.model_start import ModelStart, start_workers
from sweep.driver.overlap import Overlap, answer_service
from sweep.driver.session import Session
from sweep.driver.signals import terminable
from sweep.driver.training import Training
from sweep.errors import SpaceError
from sweep.evaluation.answer_table import AnswerRecord, write_answers
from sweep.evaluation.evaluate import evaluate as evaluate_panel
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.execution.disk_bound import DiskBound
from sweep.execution.ray.finalists import retrain_all
from sweep.plan.plan import Plan
from sweep.results.audit import with_audit
from sweep.results.evaluation_changes import evaluation_changes
from sweep.results.evaluations import Purpose, choose_name, main_evaluation, readable
from sweep.results.example import with_example
from sweep.results.ledger import begin_look, end_look
from sweep.results.policies import given_policies, panel_of, policies
from sweep.results.verdict import verdict_by_answers
from sweep.runs.driver import Phase
from sweep.runs.paths import EvaluationPaths
from sweep.settings.evaluation import SplitName
from sweep.study import TrialSummary
from sweep.trials.finalists import Retrained, finalists
from sweep.vlm.service import AnswerService
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation, accuracy


def evaluate(
    plan: Plan, training: Training, session: Session, command: str, model: Overlap | ModelStart | None = None
) -> Evaluation | None:
    """Have the best trials answer held-out questions, and give what the run's result rests on.

    That is the evaluation that the space asks for, or the one that somebody made the main one. None where there is
    neither, or nothing was completed.

    Raises:
        as `evaluate_trials`.
    """
    if training.interrupted or not training.completed:
        return None
    if plan.evaluation is not None:
        evaluate_trials(plan, training.ranked, session, Purpose(command), model)
        # Finalists and answers came besides, and the folder has its bound still.
        fingerprint, init = session.record.fingerprint, session.record.init_from
        DiskBound(session.paths, plan.space, fingerprint, lambda: training.ranked, session.say, init).enforce()
    main = main_evaluation(session.paths)
    return None if main is None else read_evaluation(main.file)


def evaluate_trials(
    plan: Plan,
    ranked: Sequence[TrialSummary],
    session: Session,
    purpose: Purpose,
    model: Overlap | ModelStart | None = None,
) -> EvaluationPaths:
    """Evaluate a run's best trials, and store the answers and the table under the evaluation's name.

    The look is written to the ledger before anything is asked, so one that fails counts as well.

    Args:
        plan: with its evaluation.
        ranked: all trials, the complete ones first, best on top.
        session: the hold on the run.
        purpose: what it is asked for, and its name where somebody chose one.
        model: the one whose workers are up, or on their way. If it answered while trials ran, the look began then.

    Raises:
        RunError: too many questions have no answer, the model or its workers cannot be had, or the name is another
            evaluation's.
    """
    if plan.evaluation is None:
        raise SpaceError(f"space {plan.request.answers.name!r} has no sections evaluation and vlm")
    paths, settings, items = session.paths, plan.evaluation.settings, plan.evaluation.items
    session.cluster(plan.bytes)
    with terminable(), nullcontext(model.service) if model else answer_service(plan.evaluation, session) as service:
        source = source_of(plan.evaluation, service)
        name = choose_name(paths, purpose, settings, source, declared=plan.request.is_declared)
        retrained, shots = _retrain(plan, ranked, session), settings.shot_numbers[-1]
        start_workers(plan, plan.evaluation, service)  # they load the model while the policies select
        own = policies(paths, ranked, settings.top, settings.epochs_per_trial, retrained, shots)
        found = [*given_policies(paths, settings), *own]
        session.pulse.phase(Phase.EVALUATING, "answers")

        def score(item: int, text: str, normalisation: AnswerNormalisation) -> float:
            return accuracy(text, items.answers(item), normalisation)

        asker = _Asker(service, settings.failure_limit)
        panel = panel_of(plan.dataset, items, settings.split, found, settings)
        train = panel_of(plan.dataset, items, SplitName.TRAIN, found, settings) if settings.train_rows else None
        verdicts = [row.verdicts for row in ranked if row.is_complete]
        look = look_of(plan, plan.evaluation, source, panel, name, purpose.command)
        if model is not None and model.look is not None:
            look = look.replace(look=model.look)  # the same one, whose rows are all known now
        begin_look(paths, look)
        evaluated = evaluate_panel(panel, settings, asker.ask, score, train, verdicts)
    session.pulse.prompts(asker.answered, asker.reused)
    session.say(f"answered {asker.answered} prompts now, {asker.reused} were known before")
    audited = with_audit(evaluated.evaluation.replace(source=source), plan, found)
    now = with_example(audited, evaluated.answers, plan.evaluation)
    _store(now.replace(sentence=verdict_by_answers(now).sentence), evaluated.answers, paths.evaluation(name), session)
    end_look(paths, look)
    return paths.evaluation(name)


def _store(now: Evaluation, answers: Sequence[AnswerRecord], place: EvaluationPaths, session: Session) -> None:
    """Store an evaluation. If it takes the place of one with other numbers, say what is different."""
    before = readable(place)
    session.paths.seal_file.remove()  # until the driver seals the run anew
    write_answers(place.answers_file, answers)
    now.write(place.file)
    changes = [] if before is None else evaluation_changes(before, now)
    if changes:
        session.say(f"evaluation {place.name!r} was there before, and is different now: {'; '.join(changes)}")


@dataclass
class _Asker:
    """Has prompts answered, and counts them."""

    service: AnswerService
    failure_limit: float
    answered: int = 0
    reused: int = 0

    def ask(self, wanted: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
        given = self.service.answer_all(wanted, "answering", failure_limit=self.failure_limit)
        self.answered, self.reused = self.answered + given.counts.answered, self.reused + given.counts.reused
        return given.results


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
    context = session.trial_context(plan)
    for result in retrain_all(context, session.paths.name, plan, wanted, session.say, session.left_out.everywhere):
        outcome = f"failed: {result.failure}"
        if result.val_loss is not None:
            outcome = f"best val_loss {result.val_loss:.4f} at epoch {result.step}"
        session.say(f"finalist trial {result.trial}, seed {result.seed}: {outcome}")
        results.append(result)
        session.pulse.progress(len(results))
    return sorted(results, key=lambda result: (result.trial, result.seed))
