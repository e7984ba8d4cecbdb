"""Errors of the sweep that are the user's to mend (see `selector.errors`)."""

from selector.errors import UserError


class SpaceError(UserError):
    """The search space cannot be used as it is. Several problems stand on lines of their own."""


class StudyError(UserError):
    """The Optuna study cannot be opened, or belongs to another sweep."""


class RunError(UserError):
    """A run cannot be started, continued or read."""


class ClusterError(RunError):
    """No trial could be started: Ray cannot be had, or nothing fits on it."""
