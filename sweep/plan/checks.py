"""TODO-DOC"""

from __future__ import annotations

from collections.abc import Sequence

from selector.data import Dataset
from selector.errors import DataError
from sweep.collect.beams import CollectPlan
from sweep.errors import SpaceError
from sweep.evaluation.questions import _images, choose_questions
from sweep.items import ImageError, ItemTable
from sweep.plan.items import open_source
from sweep.runs.paths import SharedPaths
from sweep.settings.evaluation import asked_splits
from sweep.space import SearchSpace
from sweep.vlm.answers.cached import CHECKED_FROM
from sweep.vlm.checkpoint import check_checkpoint, resolve_folder


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


def _check_splits(space: SearchSpace, beams: CollectPlan) -> None:
    for split in [] if space.evaluation is None else asked_splits(space.evaluation):
        if not (beams.queries.split == int(split.in_data)).any():
            raise DataError(
                f"the {split} split would have no query to evaluate on: give it a share in collect.build.split, or "
                "name another one in evaluation.split"
            )
