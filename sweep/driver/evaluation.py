"""The end of a run: its best selectors choose demonstrations, the model answers, the answers rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from selector.data import Dataset
from selector.errors import DataError
from sweep.errors import SpaceError
from sweep.evaluation.accuracies import write_answers
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.records import Evaluation
from sweep.evaluation.rows import Panel, build_panel
from sweep.items import ImageError, ItemTable
from sweep.plan.items import open_source
from sweep.plan.requests import Plan
from sweep.results.policies import Contestant, contestants
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.settings.evaluation import EvaluationSettings, SplitName
from sweep.space import SearchSpace
from sweep.study import TrialSummary
from sweep.trials.finalists import Retrained, finalists
from sweep.trials.trial import TrialContext
from sweep.vlm.answers.cached import CHECKED_FROM
from sweep.vlm.checkpoint import check_checkpoint, resolve_folder
from sweep.vlm.service import Asker
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import Mode, accuracy


def check_evaluation(space: SearchSpace, dataset: Dataset, shared: SharedPaths) -> int:
    """What would otherwise come out when all trials have ended: items that do not fit the data, a missing model.

    Returns how many items lack their image.

    Raises:
        SpaceError: a section is missing.
        DataError: the items are not those of the data, one that may be shown has no answer, or too many questions
            lack their image.
        UserError: the model's files cannot be found, or are no Qwen2.5-VL.
    """
    if space.evaluation is None:
        return 0
    if space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section vlm: the model that answers")
    table = open_source(space, shared).table
    if len(table) != len(dataset.embeddings):
        raise DataError(
            f"items: {len(table)} items, but the data's embeddings have {len(dataset.embeddings)} rows; both must be "
            "the same items in the same order"
        )
    for split in asked_splits(space.evaluation):
        questions = choose_questions(dataset, split, None, space.evaluation.seed, _images(table))
        _check_images(table, questions.items_Q[: space.evaluation.samples].tolist(), space.evaluation.failure_limit)
        for item in {*questions.items_Q.tolist(), *questions.pools_QK.reshape(-1).tolist()} - {-1}:
            if not table.answers(item):
                raise DataError(
                    f"items: item {item} (question {table.question_id(item)}) has no answers, but the {split} split "
                    "asks or shows it; give its annotations"
                )
    check_checkpoint(resolve_folder(space.vlm.model))
    return table.images_missing()


def asked_splits(settings: EvaluationSettings) -> list[SplitName]:
    """The splits whose questions an evaluation asks."""
    return [settings.split, *([SplitName.TRAIN] if settings.train_rows else [])]


def _check_images(table: ItemTable, questions: Sequence[int], limit: float) -> None:
    """Refuse questions of which so many lack their image that the evaluation would stop over them."""
    if len(questions) < CHECKED_FROM or not table.images_missing():
        return
    failures = []
    for item in questions:
        try:
            table.image_hash(item)
        except ImageError as error:
            failures.append(error)
    if len(failures) > limit * len(questions):
        raise DataError(
            f"items: {len(failures)} of {len(questions)} questions to be asked lack their image, which is more than "
            f"evaluation.failure_limit {limit:g} allows; the first: {failures[0]}"
        )


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


def _images(table: ItemTable) -> list[int]:
    return [table.image_id(item) for item in range(len(table))]


def panel_of(
    dataset: Dataset,
    table: ItemTable,
    split: SplitName,
    found: Sequence[Contestant],
    settings: EvaluationSettings,
) -> Panel:
    """The questions of a split and what every row shows before them."""
    questions = choose_questions(dataset, split, settings.samples, settings.seed, _images(table))
    return build_panel(dataset, questions, ((one.row, one.load()) for one in found), settings)


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
