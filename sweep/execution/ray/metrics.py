"""Gauges and counters at the Prometheus endpoint of the driver's node, where Ray puts `ray_` before their names.

The names and tags are used by dashboards of others (`docker/grafana/`), so they stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.trials.messages import EpochResult

RUN, TRIAL = ("run",), ("run", "trial")
GAUGES = {
    "sweep_trials": ("Trials by state.", ("run", "state")),
    "sweep_best_val_loss": ("Lowest validation loss of a complete trial (nats).", RUN),
    "sweep_val_loss": ("Validation loss of the last epoch (nats).", TRIAL),
    "sweep_kl": ("KL to the reference policy in the last epoch (nats).", TRIAL),
    "sweep_advantage_std": ("Standard deviation of the advantage.", TRIAL),
    "sweep_queries_per_second": ("Training queries per second.", TRIAL),
}
COUNTERS = {"sweep_epochs_done": ("Epochs finished, over all trials.", RUN)}
"""Name, description, tags. Ray exports a counter with `_total` behind its name."""


class PrometheusObserver:
    """Follows a run. Tags: `run` on all, `state` on trials, `trial` on the per-trial gauges."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._run = {"run": run}
        gauges = {name: Gauge(name, text, tags) for name, (text, tags) in GAUGES.items()}
        counters = {name: Counter(name, text, tags) for name, (text, tags) in COUNTERS.items()}
        self._trials, self._best = gauges["sweep_trials"], gauges["sweep_best_val_loss"]
        self._val_loss, self._kl = gauges["sweep_val_loss"], gauges["sweep_kl"]
        self._advantage, self._speed = gauges["sweep_advantage_std"], gauges["sweep_queries_per_second"]
        self._epochs = counters["sweep_epochs_done"]
        self._states: dict[str, int] = {}

    def started(self, event: TrialStarted) -> None:
        """A trial was handed to Tune."""
        self._set_states(event.states)

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done."""
        self._set_counts()  # again: what is set before Ray's exporter is up may be lost
        self._epochs.inc(1, self._run)
        tags = {**self._run, "trial": str(result.number)}
        report = result.report
        for gauge, value in (
            (self._val_loss, report.val_loss),
            (self._kl, report.kl),
            (self._advantage, report.advantage_std),
            (self._speed, report.queries_per_second),
        ):
            if value is not None:
                gauge.set(value, tags)

    def ended(self, event: TrialEnded) -> None:
        """A trial reached a terminal state."""
        self._set_states(event.states)
        if event.best is not None and event.best.value is not None:
            self._best.set(event.best.value, self._run)

    def _set_states(self, states: Mapping[str, int]) -> None:
        """A state that no trial is in any more is told as 0: a gauge would keep its last value."""
        self._states = {**dict.fromkeys(self._states, 0), **states}
        self._set_counts()

    def _set_counts(self) -> None:
        for state, count in self._states.items():
            self._trials.set(count, {**self._run, "state": state})
