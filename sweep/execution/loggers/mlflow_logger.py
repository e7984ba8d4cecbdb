"""MLflow: one of its runs for the sweep, with the results as artifacts, and one below it per trial."""

from __future__ import annotations

import json
import os
import time

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.loggers.follow import Ending, Followed
from sweep.settings.loggers import MlflowSettings
from sweep.study import TrialState
from sweep.trials.messages import EpochResult

SWEEP, TRIAL = "sweep.identity", "sweep.trial"
"""Tags by which a resumed run finds its own."""
LONGEST = 500
"""Letters of a parameter."""
_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
_ENDS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowLogger:
    """As `Service`."""

    name = "MLflow"

    def __init__(self, settings: MlflowSettings) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client = MlflowClient(tracking_uri=settings.uri)
        self._metric, self._param = Metric, Param
        self._settings = settings
        self._trials: dict[int, str] = {}

    def begin(self, run: Followed) -> None:
        """Finds the experiment, or makes it, and the sweep's own run in it."""
        self._run = run
        found = self._client.get_experiment_by_name(self._settings.experiment)
        self._experiment = (
            self._client.create_experiment(self._settings.experiment) if found is None else found.experiment_id
        )
        self._sweep = self._open(run.name, {SWEEP: run.identity, TRIAL: "", "folder": run.folder})
        self._client.log_dict(self._sweep, run.settings, "space.json")

    def started(self, event: TrialStarted) -> None:
        """Its sampled parameters are the parameters."""
        tags = {SWEEP: self._run.identity, TRIAL: str(event.number), "mlflow.parentRunId": self._sweep}
        identity = self._trials[event.number] = self._open(f"trial-{event.number:04d}", tags)
        params = [self._param(path, _text(value)) for path, value in event.params.items()]
        self._client.log_batch(identity, params=params)

    def epoch(self, result: EpochResult) -> None:
        """All numbers of the report."""
        now = int(time.time() * 1000)
        numbers = result.report.numbers()
        metrics = [self._metric(name, value, now, result.report.step) for name, value in numbers.items()]
        self._client.log_batch(self._trials[result.number], metrics=metrics)

    def ended(self, event: TrialEnded) -> None:
        """The epoch that stands for it, beside the curves."""
        identity, trial = self._trials.pop(event.number, None), event.trial
        if identity is None:  # it failed before it was handed out
            return
        best, step = trial.reached
        if best is not None:
            self._client.log_metric(identity, "best_val_loss", best, step=step or 0)
        for key, value in (("verdicts", " ".join(trial.verdicts)), ("reason", trial.reason), ("best_epoch", step)):
            self._client.set_tag(identity, key, value)
        self._client.set_terminated(identity, _STATUS[trial.state])

    def end(self, ending: Ending) -> None:
        """The tables and the report become artifacts of the sweep's run."""
        for identity in self._trials.values():
            self._client.set_terminated(identity, "KILLED")
        self._trials.clear()
        self._client.set_tag(self._sweep, "verdict", ending.verdict)
        for file in ending.files.values():
            self._client.log_artifact(self._sweep, str(file))
        self._client.set_terminated(self._sweep, _ENDS[ending.state])

    def _open(self, name: str, tags: dict[str, str]) -> str:
        """A new run, or the one of an earlier driver."""
        wanted = f"tags.`{SWEEP}` = '{tags[SWEEP]}' AND tags.`{TRIAL}` = '{tags[TRIAL]}'"
        for run in self._client.search_runs([self._experiment], wanted, max_results=1):
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        return str(self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id)


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:LONGEST]
