"""Whether items, data and splits fit each other."""

from __future__ import annotations

from collections.abc import Sequence

from selector.arrays import Int8Array
from selector.data import Dataset
from selector.errors import DataError
from sweep.evaluation.questions import choose_questions, images_of
from sweep.items import ImageError, ItemTable
from sweep.items.shared_images import SharedImages
from sweep.plan.requests import Request
from sweep.plan.splits import SplitError, more_queries
from sweep.settings.evaluation import EvaluationSettings, evaluation_splits
from sweep.vlm.failure_limit import FailureLimit


def check_items(table: ItemTable, dataset: Dataset, settings: EvaluationSettings) -> None:
    """Refuse items that an evaluation of this data would stumble over.

    Raises:
        DataError: the items are not those of the data, one that may be shown has no answer, or too many questions
            lack their image.
    """
    check_length(table, dataset)
    for split in evaluation_splits(settings):
        questions = choose_questions(dataset, split, None, settings.seed, images_of(table))
        _check_images(table, questions.items_Q[: settings.samples].tolist(), FailureLimit(settings.failure_limit))
        for item in {*questions.items_Q.tolist(), *questions.pools_QK.reshape(-1).tolist()} - {-1}:
            if not table.answers(item):
                raise DataError(
                    f"items: item {item} (question {table.question_id(item)}) has no answers, but the {split} split "
                    "asks or shows it; give its annotations"
                )


def check_length(table: ItemTable, dataset: Dataset) -> None:
    """Refuse items that cannot be those of the data. Raises DataError."""
    if len(table) != len(dataset.embeddings):
        raise DataError(
            f"items: {len(table)} items, but the data's embeddings have {len(dataset.embeddings)} rows; both must be "
            "the same items in the same order"
        )


def check_shared_images(shared: Sequence[SharedImages], request: Request, *, by_query: bool) -> None:
    """Refuse a new run whose splits share images, unless its space allows that.

    Args:
        shared: what was found, by kind.
        request: whose section `items` may allow it.
        by_query: whether the data was divided just now, query by query.

    Raises:
        DataError: queries of different splits show one image.
    """
    across = [one.sentence for one in shared if one.across_splits]
    allowed = request.space.items is None or request.space.items.allow_shared_images
    if not across or allowed or request.exists:
        return
    instead = "divide by image with data.split_by: image" if by_query else "make the data with splits by image"
    raise DataError(
        f"items: {'; '.join(across)}. What is measured on them was seen before: {instead}, or accept it with "
        "items.allow_shared_images: true"
    )


def _check_images(table: ItemTable, questions: Sequence[int], limit: FailureLimit) -> None:
    """Refuse questions of which so many lack their image that the evaluation would stop over them."""
    if not table.images_missing():
        return
    failures = []
    for item in questions:
        try:
            table.image_hash(item)
        except ImageError as error:
            failures.append(error)
    if limit.is_exceeded(len(failures), len(questions)):
        raise DataError(
            f"items: {len(failures)} of {len(questions)} questions to be asked lack their image, which is more than "
            f"{limit} allows; the first: {failures[0]}"
        )


def check_splits(request: Request, splits: Int8Array) -> None:
    """Refuse a collection that would leave an evaluation without questions. Raises SplitError.

    Args:
        request: whose evaluation asks.
        splits: of the queries, int8 [Q] (values of `Split`).
    """
    settings = request.space.evaluation
    for split in [] if settings is None else evaluation_splits(settings):
        if not (splits == int(split.in_data)).any():
            raise SplitError(
                f"the {split} split would have no query to evaluate on: {more_queries(request, split.in_data)}, or "
                "name another one in evaluation.split"
            )
