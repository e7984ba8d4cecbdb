"""Two or more selectors against each other: weights, selections, curves and answers, and what follows in words.

Legend: Q questions, S shots, R selectors, M measures (S numbers of shots, then their mean).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from selector.arrays import Float64Array, Int64Array
from selector.data import Dataset
from selector.health import Verdict
from selector.model import PointerSelector
from selector.reports import EpochReport, Stage
from sweep.errors import RunError
from sweep.evaluation.answer_table import read_answers
from sweep.evaluation.bootstrap import Bootstrap
from sweep.evaluation.questions import NONE, Questions
from sweep.evaluation.records import Evaluation, read_evaluation
from sweep.evaluation.rows import PolicyRow, RowKind, select_with
from sweep.evaluation.statistics import differences, with_mean
from sweep.evaluation.wording import counted, points, signed
from sweep.results.evaluations import main_evaluation
from sweep.results.sides import Side

SAME_SHARE = 0.99
"""Selectors that show the same demonstrations in the same order for this share of the questions are functionally the
same: over 100 questions, at most one prompt differs.
"""
EXAMPLES = 5
NOT_A_CURVE = {"stage", "epoch", "step", "seconds", "queries_per_second", "train_queries", "parameter_change"}
VERDICTS = {
    Verdict.NO_OP: "changed nothing of what its warm-up selects",
    Verdict.KL_DOMINATED: "its loss is almost only the KL penalty",
    Verdict.DEAD_SIGNAL: "its rewards hardly differ within a group, so there is little to learn from",
    Verdict.DIVERGED: "diverged",
}


@dataclass(frozen=True)
class TensorChange:
    """How far one tensor of two selectors is apart. `relative` is |b - a| / |a| (Frobenius), NaN where a is 0."""

    name: str
    mean: float
    highest: float
    relative: float


@dataclass(frozen=True)
class Example:
    """A question before which two selectors show other demonstrations: item ids, in the order of picking."""

    item: int
    first: tuple[int, ...]
    second: tuple[int, ...]


@dataclass(frozen=True)
class Agreement:
    """How often two selectors pick the same, as shares of the questions. One number for each number of shots.

    Attributes:
        questions: how many were compared.
        position: the same pick at this position.
        sets: the same demonstrations up to this position, in any order.
        order: the same demonstrations up to this position, in the same order.
        examples: the first questions that differ.
    """

    questions: int
    position: tuple[float, ...]
    sets: tuple[float, ...]
    order: tuple[float, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class CurveStatistics:
    """One reported number over the epochs that have it."""

    mean: float
    first: float
    last: float
    lowest: float
    lowest_step: int

    @property
    def change(self) -> float:
        """Last minus first."""
        return self.last - self.first


@dataclass(frozen=True)
class AccuracyDifference:
    """Second minus first in VQA accuracy, over the questions that both answered. Fractions, with 95 % intervals."""

    shots: int | None  # None: the mean over them
    value: float
    low: float
    high: float
    questions: int


@dataclass(frozen=True)
class Pair:
    """The first selector and another one.

    Attributes:
        tensors: of both, where their shapes are equal. None where the architectures differ.
        relative: of all tensors together.
        accuracy: per number of shots, then their mean. Empty where no evaluation asked both the same questions.
    """

    first: Side
    second: Side
    tensors: tuple[TensorChange, ...] | None
    relative: float
    agreement: Agreement
    accuracy: tuple[AccuracyDifference, ...]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, most important first."""
        return tuple(_sentences(self))


@dataclass(frozen=True)
class Comparison:
    """All selectors, each against the first.

    Attributes:
        curves: per selector, every reported number by name.
        alike: groups of selectors that are functionally the same, as positions in `sides`. Single ones are left out.
    """

    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    curves: tuple[dict[str, CurveStatistics], ...]
    alike: tuple[tuple[int, ...], ...]


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
    picks = [_picks(side, dataset, questions, shots) for side in sides]
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
    return Comparison(tuple(sides), tuple(pairs), tuple(curves(side.reports) for side in sides), _alike(picks))


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


def _picks(side: Side, dataset: Dataset, questions: Questions, shots: int) -> Int64Array:
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


def _alike(picks: Sequence[Int64Array]) -> tuple[tuple[int, ...], ...]:
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


# Words ------------------------------------------------------------------------------------------------------------


def _sentences(pair: Pair) -> Iterator[str]:
    yield _functional(pair)
    if pair.accuracy:
        yield _accuracy_words(pair.accuracy)
        yield from _shot_words(pair.accuracy)
    elif not _is_same(pair.agreement):
        yield "No evaluation asked both the same questions, so their accuracies cannot be compared."
    if pair.first.warm_up is not None and pair.first.warm_up == pair.second.warm_up:
        yield "Both started from the same warm-up."
    for side in (pair.first, pair.second):
        yield from (f"{side.label}: {VERDICTS[verdict]}." for verdict in side.verdicts)
        yield from _epoch_words(side)


def _functional(pair: Pair) -> str:
    order, sets = pair.agreement.order[-1], pair.agreement.sets[-1]
    if pair.tensors is None:
        weights = "The architectures differ"
    elif not pair.relative:
        weights = "The weights are equal"
    else:
        weights = f"The weights differ by {100 * pair.relative:.2g} %"
    same = f"the same demonstrations for {_share(order)} of {counted(pair.agreement.questions, 'question')}"
    if _is_same(pair.agreement):
        return f"{weights}, {same}: functionally the same."
    if sets > order:
        return f"{weights}, {same} in the same order, for {_share(sets)} in any order."
    return f"{weights}, {same}."


def _is_same(found: Agreement) -> bool:
    return found.order[-1] >= SAME_SHARE


def _share(value: float) -> str:
    """A share in percent that says 100 only where it is all, and 0 only where it is none."""
    shown = f"{100 * value:.1f}"
    if shown == "100.0" and value < 1:
        shown = "over 99.9"
    elif shown == "0.0" and value > 0:
        shown = "below 0.1"
    return f"{shown.removesuffix('.0')} %"


def _accuracy_words(found: Sequence[AccuracyDifference]) -> str:
    mean = found[-1]
    numbers = (
        f"{points(mean.value, signed=True)} [{signed(mean.low)}, {signed(mean.high)}] over "
        f"{counted(mean.questions, 'question')}"
    )
    if mean.low <= 0 <= mean.high:
        return f"Their accuracies cannot be told apart: {numbers}, second minus first."
    return f"The second is {'better' if mean.value > 0 else 'worse'} in accuracy: {numbers}."


def _shot_words(found: Sequence[AccuracyDifference]) -> Iterator[str]:
    """Numbers of shots at which one gains and the other loses. The mean hides that."""
    up = [str(one.shots) for one in found[:-1] if one.low > 0]
    down = [str(one.shots) for one in found[:-1] if one.high < 0]
    if up and down:
        yield f"The second is better with {', '.join(up)} and worse with {', '.join(down)} demonstrations."


def _epoch_words(side: Side) -> Iterator[str]:
    """Where the best epoch lies within the trial: before GRPO, or before the last one."""
    finite = [report for report in side.reports if math.isfinite(report.val_loss)]
    trained = [report for report in finite if report.stage is Stage.GRPO]
    if not trained or len(finite) < 2:
        return
    best, last = (min(found, key=lambda report: (report.val_loss, report.step)) for found in (finite, finite[-1:]))
    if best.stage is Stage.RCE:
        reached = min(report.val_loss for report in trained)
        yield (
            f"{side.label}: GRPO never went below the val_loss of the warm-up, {best.val_loss:.4f} at epoch "
            f"{best.step} (GRPO: {reached:.4f})."
        )
    elif best.step != last.step:
        yield (
            f"{side.label}: val_loss is lowest at epoch {best.step} of {last.step} ({best.val_loss:.4f}), and "
            f"{last.val_loss:.4f} at the last one."
        )
