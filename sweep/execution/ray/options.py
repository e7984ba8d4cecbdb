"""Which Ray a command uses, and the environment variables that must be set before ray is imported."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

# Makes Ray give this machine the address 127.0.0.1 and bind every port there; read when ray is imported. Despite its
# name it works on Linux. `ray.init(_node_ip_address=...)` does not: Ray 2.60 turns a loopback address into the outer
# one.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray 2.60 would try for a quarter of an hour to join what is not a cluster; also read when ray is imported.
FAIL_SOON = {"RAY_NUM_REDIS_GET_RETRIES": "1"}


class StartedAhead(Protocol):
    """A Ray on this machine whose processes were started before it is known what for."""

    def take(self, data_bytes: int, say: Callable[[str], None]) -> AbstractContextManager[Any] | None:
        """What was started, for the one who asks first. None: it does not fit, or did not start."""


@dataclass(frozen=True)
class RayOptions:
    """Join the cluster at `address` (`auto` or `host:port`); without one, start Ray on this machine, with `cpus` cores
    (None: all that this process may use) and, if wanted, a dashboard.

    `metrics_port` is where a Ray started here serves its metrics; None: any free port. `preload` names what each of its
    workers imports before it has work. `ahead`: its processes, if they were started already.
    """

    address: str | None = None
    cpus: int | None = None
    dashboard: bool = True
    metrics_port: int | None = None
    preload: tuple[str, ...] = ()
    ahead: StartedAhead | None = field(default=None, compare=False)
