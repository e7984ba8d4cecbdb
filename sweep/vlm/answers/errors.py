"""Errors of asking a model for answers."""

from sweep.errors import RunError


class StoreError(RunError):
    """Answers cannot be stored."""


class EvaluationError(RunError):
    """Too many work items have no answer for a table to mean anything."""
