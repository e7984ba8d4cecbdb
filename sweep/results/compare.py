"""Two or more selectors against each other: weights, selections, curves and answers.

Legend: Q questions, S shots, R selectors, M measures (S numbers of shots, then their mean).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from selector.arrays import Float64Array, Int64Array
from selector.data import Dataset
from selector.model import PointerSelector
from selector.reports import EpochReport
from sweep.errors import RunError
from sweep.evaluation.answer_table import read_answers
from sweep.evaluation.bootstrap import Bootstrap
from sweep.evaluation.questions import NONE, Questions
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.evaluation.rows import PolicyRow, RowKind, select_with
from sweep.evaluation.statistics import differences, with_mean
from sweep.results.compared import (
    SAME_SHARE,
    AccuracyDifference,
    Agreement,
    Comparison,
    CurveStatistics,
    Example,
    Pair,
    TensorChange,
)
from sweep.results.evaluations import main_evaluation
from sweep.results.sides import Side

EXAMPLES = 5
NOT_A_CURVE = {"stage", "epoch", "step", "seconds", "queries_per_second", "train_queries", "parameter_change"}


def compare_sides(
    sides: Sequence[Side], dataset: Dataset, questions: Questions, shots: int, images: Sequence[int] | None = None
) -> Comparison:
    """Compare selectors on the questions of one split.

    Args:
        sides: at least two. Labels may repeat.
        dataset: with the embeddings that all of them read.
        questions: what they select for.
        shots: the most demonstrations, at least 1.
        images: the image of every item. None: not known, and every question stands for itself.

    Raises:
        RunError: fewer than two, or one reads embeddings of another width.
    """
    if len(sides) < 2:
        raise RunError("name at least two selectors to compare")
    for side in sides:
        if side.model.config.width != dataset.width:
            raise RunError(
                f"{side.label} reads embeddings of width {side.model.config.width}, the run's data has {dataset.width}"
            )
    picks = [picks_of(side, dataset, questions, shots) for side in sides]
    accuracies = [_accuracies(side) for side in sides]
    pairs = []
    for index in range(1, len(sides)):
        tensors, relative = _tensors(sides[0].model, sides[index].model)
        pairs.append(
            Pair(
                sides[0],
                sides[index],
                tensors,
                relative,
                agreement(picks[0], picks[index], questions.items_Q),
                _difference(accuracies[0], accuracies[index], images),
            )
        )
    return Comparison(tuple(sides), tuple(pairs), tuple(curves(side.reports) for side in sides), alike(picks))


# Weights ----------------------------------------------------------------------------------------------------------


def _tensors(first: PointerSelector, second: PointerSelector) -> tuple[tuple[TensorChange, ...] | None, float]:
    before, after = first.state_dict(), second.state_dict()
    if {name: value.shape for name, value in before.items()} != {name: value.shape for name, value in after.items()}:
        return None, math.nan
    changes, moved, size = [], 0.0, 0.0
    for name, value in before.items():
        apart = (after[name].double() - value.double()).abs()
        squares = float(apart.square().sum()), float(value.double().square().sum())
        moved, size = moved + squares[0], size + squares[1]
        relative = math.sqrt(squares[0] / squares[1]) if squares[1] else math.nan if squares[0] else 0.0
        changes.append(TensorChange(name, float(apart.mean()), float(apart.max()), relative))
    return tuple(changes), math.sqrt(moved / size) if size else math.nan


# Selections -------------------------------------------------------------------------------------------------------


def picks_of(side: Side, dataset: Dataset, questions: Questions, shots: int) -> Int64Array:
    """What a selector shows before each question: item ids in the order of picking, [Q, S]."""
    row = PolicyRow(side.label, RowKind.TRIAL)
    picks_QS: Int64Array = select_with(row, side.model, questions, dataset, shots).picks_DQS[0]
    return picks_QS


def agreement(first_QS: Int64Array, second_QS: Int64Array, items_Q: Int64Array) -> Agreement:
    """How often two selections are the same.

    Args:
        first_QS: item ids in the order of picking, NONE after a pool's last candidate.
        second_QS: the same of the other one.
        items_Q: the questions.
    """
    same_QS = first_QS == second_QS
    order_QS = np.logical_and.accumulate(same_QS, axis=1)
    sets_QS = np.stack(
        [
            (np.sort(first_QS[:, : shots + 1]) == np.sort(second_QS[:, : shots + 1])).all(axis=1)
            for shots in range(first_QS.shape[1])
        ],
        axis=1,
    )
    differ = np.flatnonzero(~order_QS[:, -1])[:EXAMPLES]
    examples = tuple(Example(int(items_Q[place]), _real(first_QS[place]), _real(second_QS[place])) for place in differ)
    position, sets, order = (tuple(shares.mean(axis=0).tolist()) for shares in (same_QS, sets_QS, order_QS))
    return Agreement(len(items_Q), position, sets, order, examples)


def _real(picks_S: Int64Array) -> tuple[int, ...]:
    return tuple(int(item) for item in picks_S if item != NONE)


def alike(picks: Sequence[Int64Array]) -> tuple[tuple[int, ...], ...]:
    """Groups whose members all show the same as the group's first for nearly all questions."""
    groups: list[list[int]] = []
    for index, own_QS in enumerate(picks):
        for group in groups:
            if (picks[group[0]] == own_QS).all(axis=1).mean() >= SAME_SHARE:
                group.append(index)
                break
        else:
            groups.append([index])
    return tuple(tuple(group) for group in groups if len(group) > 1)


# Curves -----------------------------------------------------------------------------------------------------------


def curves(reports: Sequence[EpochReport]) -> dict[str, CurveStatistics]:
    """Every reported number over a trial's epochs, by name. Numbers that no epoch has are left out."""
    names = [field.name for field in fields(EpochReport) if field.name not in NOT_A_CURVE]
    found = {}
    for name in names:
        points = [(report.step, getattr(report, name)) for report in reports if getattr(report, name) is not None]
        if points:
            lowest = min(points, key=lambda point: (math.isnan(point[1]), point[1]))
            values = [value for _, value in points]
            found[name] = CurveStatistics(float(np.mean(values)), values[0], values[-1], lowest[1], lowest[0])
    return found


# Answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answered:
    """What one evaluation knows of a selector: accuracy by item and number of shots."""

    evaluation: Evaluation
    values: dict[tuple[int, int], float]


def _accuracies(side: Side) -> _Answered | None:
    """A selector's answers in the evaluation that its run rests on. None where it was not evaluated."""
    place = None if side.run is None else main_evaluation(side.run)
    if place is None:
        return None
    evaluation = read_evaluation(place.file)
    names = {row.name for row in evaluation.rows if row.checkpoint == side.checkpoint}
    found: dict[tuple[int, int], list[float]] = {}
    for one in read_answers(place.answers_file):
        if one.row in names and one.split == evaluation.settings.split and one.accuracy is not None:
            found.setdefault((one.item, one.shots), []).append(one.accuracy)
    return _Answered(evaluation, {key: float(np.mean(draws)) for key, draws in found.items()}) if found else None


def _difference(
    first: _Answered | None, second: _Answered | None, images: Sequence[int] | None
) -> tuple[AccuracyDifference, ...]:
    """Paired, with the evaluation's bootstrap. Empty where the two did not answer the same questions."""
    if first is None or second is None or not _same_questions(first.evaluation, second.evaluation):
        return ()
    settings = first.evaluation.settings
    numbers = settings.shot_numbers
    items = sorted({item for item, _ in first.values} & {item for item, _ in second.values})
    if not items:
        return ()
    accuracy_RQS: Float64Array = np.array(
        [[[one.values.get((item, shots), math.nan) for shots in numbers] for item in items] for one in (first, second)]
    )
    clusters_Q = np.array(items if images is None else [images[item] for item in items])
    bootstrap = Bootstrap(clusters_Q, settings.resamples, settings.seed)
    found = differences(bootstrap, with_mean(accuracy_RQS), [(1, 0)], np.ones(2))
    return tuple(
        AccuracyDifference(
            shots,
            float(found.value[0, column]),
            float(found.low[0, column]),
            float(found.high[0, column]),
            int(found.questions[0, column]),
        )
        for column, shots in enumerate([*numbers, None])
        if found.questions[0, column]
    )


def _same_questions(first: Evaluation, second: Evaluation) -> bool:
    if first is second or first == second:
        return True
    if first.source is None or second.source is None:
        return False
    one, other = first.settings, second.settings
    same = (one.split, one.metric, one.shot_numbers) == (other.split, other.metric, other.shot_numbers)
    return same and (first.source.items, first.source.answers) == (second.source.items, second.source.answers)
