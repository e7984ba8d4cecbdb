"""A trial as a Tune trainable. One actor serves many trials one after the other (`reuse_actors`)."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from selector.data import Dataset
from selector.errors import UserError
from selector.settings import TrialSettings
from selector.threads import use_threads
from sweep.execution.ray.node_report import check_installed
from sweep.storage.outage import is_outage
from sweep.trials.failures import UnfitNodeError, blamed_on_folder, cause_of, check_seen, reached
from sweep.trials.messages import EpochResult, TrialContext
from sweep.trials.trial import Trial, load_shared

# Settings and results travel as text: Tune flattens, merges and copies dicts.
NUMBER, SETTINGS, AVOID = "number", "settings", "avoid"
RESULT, FAILURE, CAUSE, OUTAGE, UNUSABLE = "result", "failure", "cause", "outage", "unusable"
WORKER, NODE = "worker", "node"


class TrialSteps:
    """Steps through a `Trial`. Mixed into Tune's `Trainable`, so that this module can be imported without Ray.

    Every exception of a configuration (impossible settings, GPU out of memory, a bug) becomes a result with `failure`:
    running it again elsewhere would end the same way. The coordinator decides what it speaks against, by its `cause`. A
    full disk and the like are no failure of the trial but an `outage` of the run. On a node that cannot reach the run's
    folder nothing is written: that node is `unusable`.
    """

    def setup(self, config: dict[str, Any], context: TrialContext, dataset: Dataset, cpus: float, gpus: float) -> None:
        """Called once per actor; `dataset` is a read-only view into Ray's object store."""
        use_threads(cpus)
        self._context = context
        self._run = reached(context)
        self._dataset, self._gpus = dataset, gpus
        self._shared: Any = None
        self._name = f"{self._run.name}/trial-{int(config[NUMBER]):04d}"
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up the next trial on the same actor."""
        self._end()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._number = int(config[NUMBER])
        self._settings = TrialSettings.model_validate_json(config[SETTINGS])
        self._epochs: Iterator[EpochResult] | None = None

    def _start(self) -> Iterator[EpochResult]:
        if self._shared is None:
            self._shared = load_shared(self._dataset, self._context, self._gpus)
        data, evaluate = self._shared
        return iter(Trial(self._context, self._run, self._number, self._settings, data, evaluate))

    def step(self) -> dict[str, Any]:
        """One epoch."""
        address, node = _here()
        where = {NUMBER: self._number, WORKER: f"pid {os.getpid()} on {address}", NODE: node}
        try:
            if self._epochs is None:
                check_installed(self._context.installed)
                check_seen(self._run, self._context.session)
                self._epochs = self._start()
            result = next(self._epochs)
            check_seen(self._run, self._context.session)  # what was stored meanwhile may be where nobody finds it
        except Exception as error:  # any failure of one configuration ends that trial alone, with its reason
            return {**where, **self._failed(error), "done": True}
        return {**where, RESULT: result.to_json(), "done": result.done or result.stop is not None}

    def _failed(self, error: Exception) -> dict[str, str]:
        if not isinstance(error, UserError):
            traceback.print_exc()
        error = blamed_on_folder(error, self._run, self._context)
        if isinstance(error, UnfitNodeError):
            return {UNUSABLE: str(error)}
        if isinstance(error, OSError) and is_outage(error):
            return {OUTAGE: json.dumps([error.errno, error.strerror, error.filename])}
        failure = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        cause = cause_of(error, shared=self._shared is None)
        return {FAILURE: failure} if cause is None else {FAILURE: failure, CAUSE: json.dumps(asdict(cause))}

    def cleanup(self) -> None:
        """Called before the actor goes."""
        self._end()

    def _end(self) -> None:
        # Closing the generator frees the RCE lock and the event file of a trial that was stopped from outside.
        if self._epochs is not None:
            self._epochs.close()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        """Shown in Ray's dashboard and logs. Ray asks once per actor: a reused actor keeps its first trial's name."""
        return getattr(self, "_name", type(self).__name__)


def _here() -> tuple[str, str]:
    """Address and id of this node. Outside of a cluster the id is empty."""
    import ray

    return ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""
