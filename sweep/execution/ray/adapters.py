"""Tune's searcher and scheduler, which ask the coordinator. They translate and decide nothing.

What Tune does that shapes this file (Ray 2.58 to 2.60): a result with `done` set never reaches the scheduler, and one
that the scheduler answers with STOP never reaches the searcher; both are therefore handed to the coordinator, which
takes each once. Tune pickles both objects into its snapshots, so the coordinator is left out there: nothing is ever
restored from a snapshot, the study is the only truth. For Tune, a trial whose worker dies is over. Its own retry loses
one whose worker dies while it takes up the trial. The coordinator hands out its number again, as a new trial of Tune's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.coordinator import Coordinator, Next
from sweep.execution.ray.cluster import Cluster
from sweep.execution.ray.deaths import SystemKills, death_in
from sweep.execution.ray.nodes import Nodes
from sweep.execution.ray.trainable import (
    AVOID,
    CAUSE,
    FAILURE,
    NODE,
    NUMBER,
    OUTAGE,
    RESULT,
    SETTINGS,
    UNUSABLE,
    WORKER,
)
from sweep.trials.failures import Cause
from sweep.trials.messages import EpochResult

SECONDS_TO_SETTLE = 1.0
"""Where Ray itself dies, its workers die first. What Tune does next would end this process, if Ray is gone."""


class StudySearch:
    """Hands out the coordinator's next trial. Mixed into Tune's `Searcher`."""

    FINISHED: str  # Tune's word for "there will be no more trials"

    def __init__(
        self, coordinator: Coordinator, nodes: Nodes, lost: Callable[[], str | None], kills: SystemKills
    ) -> None:
        super().__init__()  # no metric: the coordinator reads the results, Tune must not
        self.coordinator = coordinator
        self.lost = lost
        self.kills = kills
        self._nodes = nodes
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial's number and settings and the nodes that it must avoid; nothing for now; or nothing ever again."""
        answer = self.coordinator.next_trial()
        if answer is Next.FINISHED:
            return self.FINISHED
        if answer is Next.WAIT:
            return None
        self._numbers[trial_id] = answer.number
        settings = answer.settings.model_dump_json()
        return {NUMBER: answer.number, SETTINGS: settings, AVOID: ",".join(self._nodes.avoided)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Already taken by the scheduler. It shows that somewhere there is room for a trial."""
        self._nodes.trains()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The last word on a trial; its result, if any, may be one the scheduler never saw."""
        number = self._numbers.pop(trial_id)
        if result is not None and not error:
            deliver(self.coordinator, result)
        self.coordinator.gone(number)

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to keep."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep."""

    def restore(self, checkpoint_path: str) -> None:
        """Refused: `sweep resume` rebuilds everything from the study."""
        raise RuntimeError("a sweep is never restored from Tune's snapshots; use `sweep resume`")

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value for key, value in self.__dict__.items() if key not in ("coordinator", "lost", "kills", "_nodes")
        }


class StudySchedule:
    """Stops the trials that the coordinator wants stopped. Mixed into Tune's `FIFOScheduler`.

    Holds nothing: it finds the searcher at run time.
    """

    CONTINUE: str
    STOP: str

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401
        """Deliver an epoch."""
        go_on = deliver(tune_controller.search_alg.searcher.coordinator, result)
        return self.CONTINUE if go_on else self.STOP

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:  # noqa: ANN401
        """A worker died. Tune gives the trial up."""
        searcher = tune_controller.search_alg.searcher
        coordinator: Coordinator = searcher.coordinator
        time.sleep(SECONDS_TO_SETTLE)
        if lost := searcher.lost():  # then its workers die too, and their trials have no part in that
            coordinator.error = coordinator.error or ClusterError(lost)
            return
        number, death = int(trial.config[NUMBER]), death_in(_error_of(trial), searcher.kills.happened())
        if death.began:
            coordinator.died(number, death.reason, death.node)
        else:
            coordinator.did_not_start(number, death.reason, death.node)


class StudyStop:
    """Ends Tune's wait for a node that does not come. Mixed into Tune's `Stopper`.

    A trial that waits for a node keeps Tune from asking for another one, so the searcher would not hear of it.
    """

    def __init__(self, coordinator: Coordinator, nodes: Nodes) -> None:
        self.coordinator = coordinator
        self._nodes = nodes

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped here."""
        return False

    def stop_all(self) -> bool:
        """Whether there is no room for trials and nobody waits for it any more."""
        try:
            is_full = self._nodes.room() == 0
        except ClusterError as error:
            self.coordinator.error = self.coordinator.error or error
            return True
        return is_full and (self.coordinator.interrupted or self.coordinator.error is not None)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _error_of(trial: Any) -> str:  # noqa: ANN401 (Tune's)
    """What Tune wrote down of the error, a moment ago and on this machine."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace").partition("\n")[2]
    except (OSError, TypeError):  # TypeError: it has no file
        return ""


def study_searcher(coordinator: Coordinator, nodes: Nodes, cluster: Cluster) -> Any:  # noqa: ANN401 (Ray is untyped)
    """What Tune asks for trials. The class is made here: Ray reads its environment when it is imported."""
    from ray.tune.search import Searcher

    kills = SystemKills() if cluster.started_here else SystemKills(())  # of other machines nothing is known
    return type("StudySearcher", (StudySearch, Searcher), {})(coordinator, nodes, cluster.lost, kills)


def study_scheduler() -> Any:  # noqa: ANN401 (Ray is untyped)
    """What Tune asks whether a trial goes on."""
    from ray.tune.schedulers import FIFOScheduler

    return type("StudyScheduler", (StudySchedule, FIFOScheduler), {})()


def study_stopper(coordinator: Coordinator, nodes: Nodes) -> Any:  # noqa: ANN401 (Ray is untyped)
    """What Tune asks whether all trials are to stop."""
    from ray.tune.stopper import Stopper

    return type("StudyStopper", (StudyStop, Stopper), {})(coordinator, nodes)


def deliver(coordinator: Coordinator, result: dict[str, Any]) -> bool:
    """Translate a trainable's result. False if the trial has to stop."""
    number, node = int(result[NUMBER]), str(result[NODE])
    if OUTAGE in result:
        coordinator.halt(OSError(*json.loads(result[OUTAGE])))
        return False
    if UNUSABLE in result:
        coordinator.unusable(number, str(result[UNUSABLE]), node)
        return False
    coordinator.worker(number, str(result[WORKER]), node)
    if FAILURE in result:
        cause = Cause(**json.loads(result[CAUSE])) if CAUSE in result else None
        coordinator.failed(number, str(result[FAILURE]), cause)
        return False
    return coordinator.epoch(EpochResult.from_json(result[RESULT]))
