"""TODO-DOC"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.study import TrialSummary

TOP = 5


def rank(summaries: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Complete trials by value, then the others by number: a trial that was stopped early has no rank."""
    complete = sorted((row for row in summaries if row.is_complete), key=lambda row: (row.value, row.number))
    return [*complete, *(row for row in summaries if not row.is_complete)]
