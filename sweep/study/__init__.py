"""The owner of a run's Optuna study: the one place that asks, reports, decides and tells."""

from optuna.trial import FrozenTrial, TrialState

from sweep.study.owner import StudyOwner, read_summaries
from sweep.study.storage import has_study
from sweep.study.summaries import AskedTrial, NoTrial, Standing, TrialSummary

__all__ = [
    "AskedTrial",
    "FrozenTrial",
    "NoTrial",
    "Standing",
    "StudyOwner",
    "TrialState",
    "TrialSummary",
    "has_study",
    "read_summaries",
]
