"""The owner of a run's Optuna study: the one place that asks, reports, decides and tells."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from sweep.study.reading import read_summaries
from sweep.study.storage import count_trials, has_study
from sweep.study.summaries import AskedTrial, NoTrial, Standing, TrialSummary

if TYPE_CHECKING:
    from sweep.study.owner import StudyOwner

__all__ = [
    "AskedTrial",
    "FrozenTrial",
    "NoTrial",
    "Standing",
    "StudyOwner",
    "TrialState",
    "TrialSummary",
    "count_trials",
    "has_study",
    "read_summaries",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever the name stands for)
    """Load the owner when it is first asked for: its samplers take a second, and who only reads needs none."""
    if name == "StudyOwner":
        return import_module("sweep.study.owner").StudyOwner
    raise AttributeError(f"module 'sweep.study' has no attribute {name!r}")
