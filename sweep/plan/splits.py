"""Whether every split has the queries that it needs, and which setting gives it more for data of this origin."""

from __future__ import annotations

from pathlib import Path

from selector.data import DataSummary, Split
from selector.data.native import is_native
from selector.errors import DataError
from selector.settings import ValidationMetric, ValidationSettings
from sweep.plan.items import QUERIES_FILE
from sweep.plan.requests import Request
from sweep.settings.collect import BuildSettings

FEW_GROUPS = 50
"""Below this number of informative groups, one of them is more than 2 % of val_loss."""


class SplitError(DataError):
    """A split lacks queries. The data is whole, so that nothing is gained by making it again as it is."""


def check_summary(summary: DataSummary, request: Request) -> None:
    """Refuse data that no trial could be trained on, or that could not rank trials.

    Args:
        summary: what the data holds under the validation reward.
        request: what it is for.

    Raises:
        SplitError: training or validation queries are missing, or no validation group has beams of different reward.
    """
    for split, other in ((Split.TRAIN, "the validation and test splits"), (Split.VAL, "the others")):
        if not summary.queries[split]:
            remedy = more_queries(request, split)
            raise SplitError(f"the {split.name.lower()} split is empty: {remedy}, at the cost of {other}")
    validation = request.space.validation
    if validation.metric is not ValidationMetric.RCE and not informative_groups(summary):
        raise SplitError(
            f"no val group has beams of different reward ({validation.reward.mode.value}): the listwise metric is "
            f"undefined; {more_queries(request, Split.VAL)}, measure more beams, or set "
            "validation.metric to rce"
        )


def informative_groups(summary: DataSummary) -> int:
    """Validation groups whose beams differ in reward."""
    return summary.queries[Split.VAL] - summary.zero_variance_groups[Split.VAL]


def informative_sentence(informative: int, total: int, validation: ValidationSettings, remedy: str) -> str:
    """How many validation groups decide val_loss, and what gives more of them where they are few."""
    if validation.metric is ValidationMetric.RCE:
        return f"{informative} of {total} validation groups are informative, and val_loss (rce) counts all of them"
    said = f"{informative} of {total} validation groups are informative and decide everything"
    return said if informative >= FEW_GROUPS else f"{said}; for more, {remedy}, or measure more beams for each query"


def more_queries(request: Request, split: Split) -> str:
    """What a person does to give a split of the request's data more queries, as an imperative."""
    name = split.name.lower()
    if _is_collected(request):
        return _more_to_measure(request, name)
    if request.data.path is not None and is_native(request.data.path):
        return f"make the data again with more {name} queries (it is stored with its split)"
    if split is Split.TRAIN:
        return "lower data.split.val and data.split.test"
    return f"raise data.split.{name}"


def _more_to_measure(request: Request, name: str) -> str:
    settings, items = request.space.collect, request.space.items
    if settings is not None and settings.queries is not None:
        return f"put more queries into the {name} split in {settings.queries.name}"
    if settings is None or settings.build == BuildSettings():
        if items is not None and items.demo is not None:
            return f"raise items.demo.{name}"
        if items is not None and items.folder is not None and _has_queries(items.folder):
            return f"put more queries into the {name} split in {QUERIES_FILE} beside the items"
    if name == Split.TRAIN.name.lower():
        return "lower collect.build.split.val and collect.build.split.test"
    return f"raise collect.build.split.{name}"


def _has_queries(folder: Path) -> bool:
    return (folder / QUERIES_FILE).is_file()


def _is_collected(request: Request) -> bool:
    """Whether the data is measured for the request's space, now or by an earlier driver of the run."""
    if request.collects or request.collected is not None:
        return True
    if request.space.collect is None or request.data.path is None or request.shared.root.is_remote:
        return False
    return request.data.path.resolve().parent == request.shared.data_folder(".").local().resolve()
