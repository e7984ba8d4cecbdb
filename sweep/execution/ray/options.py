"""Which Ray a command uses, and the environment variables that must be set before ray is imported."""

from __future__ import annotations

from dataclasses import dataclass

# Makes Ray give this machine the address 127.0.0.1 and bind every port there; read when ray is imported. Despite its
# name it works on Linux. `ray.init(_node_ip_address=...)` does not: Ray 2.60 turns a loopback address into the outer
# one.
LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray 2.60 would try for a quarter of an hour to join what is not a cluster; also read when ray is imported.
FAIL_SOON = {"RAY_NUM_REDIS_GET_RETRIES": "1"}


@dataclass(frozen=True)
class RayOptions:
    """Join the cluster at `address` (`auto` or `host:port`); without one, start Ray on this machine, with `cpus` cores
    (None: all that this process may use) and, if wanted, a dashboard.

    `metrics_port` is where a Ray started here serves its metrics; None: any free port.
    """

    address: str | None = None
    cpus: int | None = None
    dashboard: bool = True
    metrics_port: int | None = None
