"""Whatever Ray raises when it cannot start is one line of ours."""

from __future__ import annotations

import pytest
import ray

from sweep.errors import ClusterError
from sweep.execution.ray.cluster import connected
from sweep.execution.ray.options import RayOptions


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Exception("The current node timed out during startup.\nIt may be busy."), "timed out during startup. It may"),
        (RuntimeError("Traceback (most recent call last):\n  File x\nOSError: no room"), "OSError: no room"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_a_start_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fail(**options: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)  # the tests' own Ray stays
    with pytest.raises(ClusterError, match=said) as raised, connected("mine", 0, RayOptions()):
        pass
    assert "\n" not in str(raised.value) and str(raised.value).startswith("cannot start Ray on this machine: ")
