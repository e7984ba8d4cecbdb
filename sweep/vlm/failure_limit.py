"""How many results may be failures before a table means nothing: the one place that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from sweep.errors import RunError

JUDGED_FROM = 20
"""Fewer results than this are let pass whatever their share of failures: one of ten says nothing about a share."""


class EvaluationError(RunError):
    """Too many work items have no answer for a table to mean anything."""


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """The largest share of results that may be failures (`evaluation.failure_limit`).

    Attributes:
        share: in [0, 1].
    """

    share: float

    def is_exceeded(self, failed: int, total: int, known: int | None = None) -> bool:
        """Whether there are more failures than the limit allows.

        Args:
            failed: failures among the known results.
            total: results that there will be in the end.
            known: results so far. None if all are known.
        """
        known = total if known is None else known
        # Against all, not against those that are known: bad images often come together, and early.
        return known >= JUDGED_FROM and failed > self.share * total

    def __str__(self) -> str:
        """Part of a message: `... more than {limit} allows`."""
        return f"the failure limit of {self.share:g} (evaluation.failure_limit, judged from {JUDGED_FROM} results on)"
