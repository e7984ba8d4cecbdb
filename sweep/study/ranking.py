"""Which trial is better, and which trials a comparison loads: one rule for evaluation, finalists and disk bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selector.health import Verdict
from sweep.study import TrialSummary

TOP = 5
"""Trials in the table of held-out queries; no disk bound keeps fewer."""


def rank(summaries: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Complete trials by value, then the others by number: a trial that was stopped early has no rank."""
    complete = sorted((row for row in summaries if row.is_complete), key=lambda row: (row.value, row.number))
    return [*complete, *(row for row in summaries if not row.is_complete)]


def compared(
    ranked: Sequence[TrialSummary], top: int, can_load: Callable[[TrialSummary], bool], shots: int = 0
) -> list[TrialSummary]:
    """The trials that a comparison takes, best first.

    A trial labelled no_op selects what its reference selects, so its row would repeat the reference's. The label is
    about the first picks alone: a comparison of more shots takes the trial. A trial whose files are gone or damaged
    leaves its place to the next one.

    Args:
        ranked: all trials, as `rank` gives them.
        top: how many at most.
        can_load: whether a trial's stored epochs are there and whole; asked only as far down as needed.
        shots: the most demonstrations that the comparison shows. 0 trusts every label.
    """
    found: list[TrialSummary] = []
    for row in ranked:
        if len(found) == top:
            break
        repeats = Verdict.NO_OP in row.verdicts and (row.standing.shots or 0) >= shots
        if row.is_complete and not repeats and can_load(row):
            found.append(row)
    return found


def best_of_configurations(ranked: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Of each configuration its best complete trial, best first: repeats of one are the same point of the space."""
    best: dict[str, TrialSummary] = {}
    for row in ranked:
        if row.is_complete:
            best.setdefault(row.key, row)
    return list(best.values())
