"""A run's best trial against the baseline, as one of the two tables has it: by answers, or on held-out queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.evaluation.records import Difference, Evaluation, RowRecord
from sweep.evaluation.rows import RowKind
from sweep.results.held_out import BASELINE, HeldOutRow
from sweep.results.run_verdict import VerdictKind
from sweep.settings.evaluation import SplitName
from sweep.study import TrialSummary

NOT_TEST = "These questions took part in training or in the choice of trials, so new ones may say otherwise."


@dataclass(frozen=True)
class Comparison:
    """The best trial against the baseline.

    Attributes:
        by_answers: whether differences are shares of correct answers. Else they are accuracies by rule, or rewards.
        is_above: whether the best is above, all things counted (the spread between seeds, too).
        same: whether both show the same demonstrations.
        others: other trials that are surely above.
        comparisons: made in the table, among which this one was picked.
        place: how the best stands among the rows, in sentences.
    """

    best: str
    trial: int
    baseline: str
    measure: str
    by_answers: bool
    difference: Difference
    is_above: bool
    same: bool
    others: tuple[int, ...]
    comparisons: int
    place: str

    @property
    def kind(self) -> VerdictKind:
        """What it shows."""
        if self.is_above:
            return VerdictKind.BEATS_BASELINE
        if self.same or (self.difference.value == 0 and self.difference.error == 0):
            return VerdictKind.EQUAL_TO_BASELINE
        if self.difference.is_sure and self.difference.value < 0:
            return VerdictKind.WORSE_THAN_BASELINE
        return VerdictKind.NOT_DISTINGUISHED


def by_answers(evaluation: Evaluation) -> Comparison | None:
    """The winner of an evaluation. None without one, or if no question was answered for both."""
    winner, baseline = evaluation.winner, evaluation.settings.baseline.value
    if winner.row is None or winner.trial is None:
        return None
    row, reference = evaluation.row(winner.row), evaluation.row(baseline)
    if row.minus_baseline is None:
        return None
    compared = [one for one in evaluation.rows if one.minus_baseline is not None]
    return Comparison(
        best=row.name,
        trial=winner.trial,
        baseline=baseline,
        measure=evaluation.settings.measure,
        by_answers=True,
        difference=row.minus_baseline,
        is_above=winner.over_baseline,
        same=(row.same_as or row.name) == (reference.same_as or reference.name),
        others=() if evaluation.finalists else _others_above(compared, row),
        comparisons=len(compared),
        place=winner.sentence if evaluation.settings.split is SplitName.TEST else f"{winner.sentence} {NOT_TEST}",
    )


def _others_above(compared: Sequence[RowRecord], winner: RowRecord) -> tuple[int, ...]:
    """Other trials, seen on all questions, that are surely above the baseline."""
    others = [row for row in compared if row.kind is RowKind.TRIAL and row.dropped_after is None]
    above = [row.trial for row in others if row.trial != winner.trial and _is_surely_above(row.minus_baseline)]
    return tuple(number for number in above if number is not None)


def by_held_out(complete: Sequence[TrialSummary], rows: Sequence[HeldOutRow]) -> Comparison | None:
    """The best trial by val_loss that is in the table. None without one.

    Compared is the accuracy where a rule answers, else the reward of the measured beam that is preferred.
    """
    by_name = {row.name: row for row in rows}
    trials = {row.number: by_name[f"trial {row.number}"] for row in complete if f"trial {row.number}" in by_name}
    by_rule = any(row.accuracy is not None for row in rows)
    gains = {row.name: row.accuracy_gain if by_rule else row.preferred_gain for row in rows}
    if not trials:
        return None
    number, best = next(iter(trials.items()))
    difference = gains[best.name]
    if difference is None:
        return None
    values = {row.name: (row.accuracy or (0.0,))[-1] if by_rule else row.preferred for row in rows}
    measure = "accuracy by the demo's rule" if by_rule else "reward of the preferred beam"
    return Comparison(
        best=best.name,
        trial=number,
        baseline=BASELINE,
        measure=measure,
        by_answers=False,
        difference=difference,
        is_above=_is_surely_above(difference),
        same=False,
        others=tuple(one for one, row in trials.items() if one != number and _is_surely_above(gains[row.name])),
        comparisons=sum(gain is not None for gain in gains.values()),
        place=_place(best.name, values, measure, first=number == complete[0].number),
    )


def _place(best: str, values: Mapping[str, float], measure: str, *, first: bool) -> str:
    """How the best trial stands among the rows of the held-out table."""
    value = values[best]
    ahead = [name for name, other in values.items() if other > value]
    equal = [name for name, other in values.items() if other == value and name != best]
    chosen = "the best by val_loss" if first else "the best by val_loss of the trials in the table"
    sentences = [f"{best}, {chosen}, has {value:.3f} on held-out queries ({measure})."]
    if ahead:
        sentences.append(f"Ahead of it: {', '.join(ahead)}.")
    if equal:
        sentences.append(f"Exactly as high: {', '.join(equal)}.")
    return " ".join(sentences)


def _is_surely_above(difference: Difference | None) -> bool:
    return difference is not None and difference.is_sure and difference.value > 0
