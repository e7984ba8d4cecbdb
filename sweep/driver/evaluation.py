"""The end of a run: its best selectors choose demonstrations, the model answers, the answers rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from sweep.errors import SpaceError
from sweep.evaluation.answer_table import write_answers
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.records import Evaluation
from sweep.plan.items import open_source
from sweep.plan.plan import Plan
from sweep.results.policies import contestants, panel_of
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import EvaluationSettings, SplitName
from sweep.study import TrialSummary
from sweep.trials.finalists import Retrained, finalists
from sweep.trials.messages import TrialContext
from sweep.vlm.service import Asker
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import Mode, accuracy


def evaluate_run(
    plan: Plan, paths: RunPaths, ranked: Sequence[TrialSummary], context: TrialContext, console: Console
) -> Evaluation:
    """Evaluate a run's best trials and store the answers and the table. Needs a connected Ray for what is new.

    Raises:
        RunError: too many questions have no answer, or the model or its workers cannot be had.
    """
    space, settings = plan.space, plan.space.evaluation
    if settings is None or space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no sections evaluation and vlm: how answers are compared")
    retrained = _retrain(plan, paths, ranked, settings, context, console)
    found = contestants(paths, ranked, settings.top, settings.epochs_per_trial, retrained)
    source = open_source(space, paths.shared)
    with Asker(space.vlm, source.table, paths.shared, paths.name, console) as asker:
        counts = _Counts()

        def ask(items: Sequence[WorkItem]) -> Mapping[WorkItem, Result]:
            answered = asker.ask(items, "answering", failure_limit=settings.failure_limit)
            counts.add(answered.counts.answered, answered.counts.reused)
            return answered.results

        def score(item: int, text: str, mode: Mode) -> float:
            return accuracy(text, source.table.answers(item), mode)

        panel = panel_of(plan.dataset, source.table, settings.split, found, settings)
        train = panel_of(plan.dataset, source.table, SplitName.TRAIN, found, settings) if settings.train_rows else None
        verdicts = [row.verdicts for row in ranked if row.is_complete]
        evaluated = evaluate(panel, settings, ask, score, train, verdicts)
    console.print(
        f"answered {counts.answered} prompts now, {counts.reused} were known before", highlight=False, soft_wrap=True
    )
    write_answers(paths.answers_file, evaluated.answers)
    evaluated.evaluation.write(paths.evaluation_file)
    return evaluated.evaluation


class _Counts:
    def __init__(self) -> None:
        self.answered = self.reused = 0

    def add(self, answered: int, reused: int) -> None:
        self.answered += answered
        self.reused += reused


def _retrain(
    plan: Plan,
    paths: RunPaths,
    ranked: Sequence[TrialSummary],
    settings: EvaluationSettings,
    context: TrialContext,
    console: Console,
) -> list[Retrained]:
    complete = [row for row in ranked if row.is_complete]
    wanted = finalists(paths, complete, settings.finalists.count, settings.finalists.seeds)
    if not wanted:
        return []
    from sweep.execution.ray.finalists import retrain_all

    results = []
    for result in retrain_all(context, plan, wanted):
        outcome = f"val_loss {result.val_loss:.4f}" if result.val_loss is not None else f"failed: {result.failure}"
        console.print(f"finalist trial {result.trial}, seed {result.seed}: {outcome}", highlight=False, soft_wrap=True)
        results.append(result)
    return sorted(results, key=lambda result: (result.trial, result.seed))
