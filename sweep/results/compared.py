"""What a comparison of selectors found, and what follows in words. `sweep.results.compare` makes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from selector.health import Verdict
from selector.reports import Stage
from sweep.evaluation.wording import counted, points, signed
from sweep.results.sides import Side

SAME_SHARE = 0.99
"""Selectors that show the same demonstrations in the same order for this share of the questions are functionally the
same: over 100 questions, at most one prompt differs.
"""
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
        weights = f"The weights differ by {relative_words(pair.relative)}"
    same = f"the same demonstrations for {_share(order)} of {counted(pair.agreement.questions, 'question')}"
    if _is_same(pair.agreement):
        return f"{weights}, {same}: functionally the same."
    if sets > order:
        return f"{weights}, {same} in the same order, for {_share(sets)} in any order."
    return f"{weights}, {same}."


def relative_words(change: float) -> str:
    """A relative change as people write it: two digits, or all before the point. NaN is a change from zero."""
    if math.isnan(change):
        return "from 0"
    percent = 100 * change
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


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
