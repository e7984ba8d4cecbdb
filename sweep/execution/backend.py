"""The door of this package: what runs the trials that a coordinator hands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sweep.execution.coordinator import Coordinator
from sweep.execution.events import TrialObserver
from sweep.execution.places import Places
from sweep.plan.plan import Plan
from sweep.runs.paths import RunPaths
from sweep.space import SearchSpace
from sweep.trials.messages import TrialContext


class Backend(Protocol):
    """Runs trials somewhere: asks the coordinator for them and brings it their results."""

    def concurrency(self, space: SearchSpace) -> int:
        """Trials at a time: what the space asks for, but no more than there is room for at the moment.

        Raises:
            ClusterError: there is no room for one, and none came for a while.
        """

    @property
    def places(self) -> Places:
        """Where its workers run. The coordinator says which of them get no more trials."""

    def observers(self, run: str) -> Sequence[TrialObserver]:
        """Followers of the run that only this back-end has, such as its metrics endpoint."""

    def run(self, coordinator: Coordinator, plan: Plan, paths: RunPaths, context: TrialContext) -> None:
        """Run until the coordinator has no more trials.

        A failure of a trial goes to the coordinator, and so does the death of a worker: nothing is tried again here.
        `coordinator.ended` is called last. If the back-end itself fails, the error stands in
        `coordinator.error`, and the trials that were running stay unfinished in the study.
        """
