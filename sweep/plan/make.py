"""From a request to a plan, with every check that can be made before a trial starts. Needs no Ray."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

import torch

from selector.batches import TensorData
from selector.config import SelectorConfig
from selector.data import Dataset, DataSettings, DataSummary, describe, load
from selector.data.native import is_native
from selector.data.queries import QueryTable
from selector.data.settings import SplitBy
from selector.errors import DataError
from selector.model import PointerSelector
from selector.rewards import compute_rewards
from selector.training.stage import training_queries
from selector.validation import Evaluator
from sweep.errors import SpaceError
from sweep.items import ItemTable
from sweep.items.shared_images import SharedImages, Sign, equal_rows, find_shared_images
from sweep.plan.checks import check_items, check_length, check_shared_images
from sweep.plan.collection import is_collected, plan_collection
from sweep.plan.given import open_init, read_rows
from sweep.plan.items import open_source
from sweep.plan.plan import AnyPlan, CollectionPlan, EvaluationPlan, Plan
from sweep.plan.requests import Request
from sweep.plan.splits import SplitError, check_summary, more_queries
from sweep.settings.evaluation import evaluation_splits
from sweep.space import SearchSpace, reachable_rewards
from sweep.space.model import extremes
from sweep.storage.path import StoredPath
from sweep.vlm.engine.loading import check_model


class Answers(Enum):
    """What a plan's evaluation is for, and so what is checked."""

    UNUSED = auto()  # the plan has no evaluation, whatever the space says
    STORED = auto()  # stored answers are scored again: items are needed
    ASKED = auto()  # the model is asked: its files are needed too


def make_plan(request: Request, answers: Answers = Answers.ASKED) -> AnyPlan:
    """Read and check what a request names. Where the data is still to be made, what can be known before that.

    Raises:
        SpaceError: a section is missing.
        DataError: the data or the items are wrong, do not fit each other, or lack what the space needs.
        UserError: the model's files cannot be used.
    """
    if not request.collects:
        return _plan(request, request.data, None, answers, request.collected)
    collection = plan_collection(request)
    if answers is Answers.ASKED and request.space.evaluation is not None:
        read_rows(request.space.evaluation, request.kept)
    if isinstance(collection, CollectionPlan) and is_collected(collection):
        return plan_of_collected(collection, answers)
    return collection


def plan_of_collected(collection: CollectionPlan, answers: Answers = Answers.ASKED) -> Plan:
    """The plan over data that has been collected, with the items that are open already.

    Raises:
        DataError: the folder was damaged since. The message says how to mend it.
    """
    request = collection.request
    data = DataSettings.model_validate({**dict(request.data), "path": collection.folder.local()})
    try:
        plan = _plan(request, data, collection.items, answers, collection.folder)
        return replace(plan, embedded=collection.embedded)
    except SplitError:
        raise
    except DataError as error:
        raise DataError(
            f"{error} (collected data; if {collection.folder} is damaged, delete it: it is made again from stored "
            "answers)"
        ) from None


def _plan(
    request: Request, data: DataSettings, items: ItemTable | None, answers: Answers, collected: StoredPath | None
) -> Plan:
    own = items or _own_items(request, data, answers)
    dataset, summary = _load(request, data, own)
    if own is not None:
        check_length(own, dataset)
    evaluation = plan_evaluation(request, dataset, own if request.answers is request.space else None, answers)
    table = own if own is not None or evaluation is None else evaluation.items
    shared = shared_images(dataset, table)
    check_shared_images(shared, request, by_query=data.path is not None and not is_native(data.path))
    parameters = _parameters(request.space, dataset.width)
    init = open_init(request, dataset.width)
    return Plan(request, data, dataset, summary, parameters, evaluation, collected, shared, init=init)


def _own_items(request: Request, data: DataSettings, answers: Answers) -> ItemTable | None:
    """The items of the run's own space, where it has any and something is to be learnt from them."""
    needed = answers is not Answers.UNUSED or data.split_by is SplitBy.IMAGE
    return open_source(request.space, request.shared).table if needed and request.space.items is not None else None


def shared_images(dataset: Dataset, table: ItemTable | None) -> tuple[SharedImages, ...]:
    """Queries that share an image with others. Without items, equal embeddings are taken for one image."""
    queries = QueryTable(dataset.query_items, dataset.pool_items, dataset.pool_starts, dataset.split)
    if table is None:
        return tuple(find_shared_images(queries, equal_rows(dataset.embeddings), Sign.EMBEDDING))
    return tuple(find_shared_images(queries, table.image_ids()))


def _load(request: Request, data: DataSettings, items: ItemTable | None) -> tuple[Dataset, DataSummary]:
    """The data, known to hold what every trial of the space needs."""
    space = request.space
    dataset = load(data, None if items is None else items.image_ids())
    for reward in (*reachable_rewards(space), space.validation.reward):
        try:
            compute_rewards(dataset.outcomes, reward)
        except DataError as error:
            raise DataError(f"{data.path or 'demo data'}: {error}") from None
    summary = describe(dataset, compute_rewards(dataset.outcomes, space.validation.reward))
    check_summary(summary, request)
    for wanted in extremes(space, "train_queries"):
        training_queries(dataset, space.trial.replace(train_queries=wanted))
    Evaluator(TensorData(dataset, torch.device("cpu")), space.validation)
    return dataset, summary


def _parameters(space: SearchSpace, width: int) -> int:
    """Weights of the selector that the space trains."""
    settings = space.trial if space.parameters else space.resolve({}, 0)
    model = PointerSelector(SelectorConfig(width=width, **settings.model.model_dump(mode="json")))
    return sum(weights.numel() for weights in model.parameters())


def plan_evaluation(
    request: Request, dataset: Dataset, items: ItemTable | None = None, answers: Answers = Answers.ASKED
) -> EvaluationPlan | None:
    """The evaluation that a request asks for, checked now, so that nothing of it fails when all trials have ended.

    Args:
        request: whose `answers` count.
        dataset: what the trials are trained on.
        items: the items, if they are open already.
        answers: what the evaluation is for.

    Raises:
        SpaceError: the space has no section `vlm` or `items`.
        DataError: the items do not fit the data.
        UserError: the model's files cannot be found, or are no Qwen2.5-VL.
    """
    settings, vlm = request.answers.evaluation, request.answers.vlm
    if settings is None or answers is Answers.UNUSED:
        return None
    if vlm is None:
        raise SpaceError(f"space {request.answers.name!r} has no section vlm: the model that answers")
    table = items or open_source(request.answers, request.shared).table
    for split in evaluation_splits(settings):
        if not len(dataset.indices(split.in_data)):
            raise SplitError(
                f"the {split} split has no queries to evaluate on: {more_queries(request, split.in_data)}, or name "
                "another one in evaluation.split"
            )
    check_items(table, dataset, settings)
    if answers is Answers.ASKED:
        read_rows(settings, request.kept, dataset.width)
        check_model(vlm)
    return EvaluationPlan(settings, vlm, table)
