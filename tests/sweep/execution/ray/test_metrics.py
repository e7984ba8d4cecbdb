"""What Prometheus sees of a run."""

from __future__ import annotations

import pytest
import ray.util.metrics

from sweep.execution.events import TrialEnded, TrialStarted
from sweep.execution.ray.metrics import PrometheusObserver
from tests.sweep.execution.test_coordinator import result
from tests.sweep.report.test_trials import summary


class Gauge:
    """Keeps the last value of each set of tags, as a Prometheus endpoint does."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.values: dict[tuple[str, ...], float] = {}
        self._keys = tag_keys
        ALL[name] = self

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[tuple(tags[key] for key in self._keys)] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        key = tuple(tags[key] for key in self._keys)
        self.values[key] = self.values.get(key, 0) + value


ALL: dict[str, Gauge] = {}


def test_a_state_that_no_trial_is_in_any_more_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util.metrics, "Gauge", Gauge)
    monkeypatch.setattr(ray.util.metrics, "Counter", Gauge)
    observer = PrometheusObserver("mine")
    observer.started(TrialStarted(0, {}, False, {"running": 1}))
    observer.epoch(result(0, 1, 2.5))
    ended = summary(0, value=2.5, last_step=1)
    observer.ended(TrialEnded(ended, ended, {"complete": 1}))
    assert ALL["sweep_trials"].values == {("mine", "running"): 0, ("mine", "complete"): 1}
    observer.started(TrialStarted(1, {}, False, {"complete": 1, "running": 1}))
    assert ALL["sweep_trials"].values[("mine", "running")] == 1
    assert ALL["sweep_epochs_done"].values == {("mine",): 1}
