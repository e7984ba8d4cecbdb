"""Environment variables and Ray: what it is given, what it must not inherit, and what `RAY_ADDRESS` means.

Ray reads most of them when it is imported. Its processes and workers inherit the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sweep.errors import ClusterError
from sweep.execution.ray.options import LOOPBACK_ONLY, RayOptions

ADDRESS = "RAY_ADDRESS"
TOKEN_FILE = "RAY_AUTH_TOKEN_PATH"  # noqa: S105 (the variable's name)


@dataclass(frozen=True)
class Wait:
    """How long a part of Ray waits for another, or how often it tries: by Ray's default, and here."""

    default: int
    ours: int
    of: str


WAITS = {
    "RAY_gcs_server_port_wait_time_s": Wait(30, 120, "the driver, until the control service (GCS) has a port"),
    "RAY_gcs_rpc_server_connect_timeout_s": Wait(5, 60, "everybody, for the first connection to the GCS"),
    "RAY_py_gcs_connect_timeout_s": Wait(30, 120, "Python processes, for the first connection to the GCS"),
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": Wait(60, 180, "the driver, until the dashboard is up"),
    "RAY_raylet_start_wait_time_s": Wait(30, 120, "the driver, until the raylet is known to the GCS"),
    "RAY_agent_register_timeout_ms": Wait(30_000, 300_000, "the raylet, until its agents answer"),
    "RAY_raylet_client_num_connect_attempts": Wait(10, 60, "driver and workers, to reach the raylet (times 1 s)"),
    "RAY_worker_register_timeout_seconds": Wait(60, 300, "the raylet, until a worker that it started reports"),
    "RAY_health_check_failure_threshold": Wait(5, 20, "the GCS: checks that fail until a node counts as dead"),
}  # fmt: skip
"""Ray's own waits (defaults of 2.60), made to suit a busy machine. Two more cannot be set: the raylet waits 15 s until
its agents have ports, and `ray.init` 30 s for the raylet. For these, a start is tried again.
"""

STARTED_HERE = LOOPBACK_ONLY | {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would pack the working folder for every worker
    "RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE": "1",  # a small /dev/shm is slow, and no reason to refuse
    "RAY_grpc_enable_http_proxy": "0",  # nothing on this machine is reached through a proxy
    "RAY_USE_TLS": "0",  # a cluster's certificates; the loopback address needs none
}
"""What a Ray on this machine gets, whatever is set."""

INHERITED = (
    ADDRESS,  # made an option before
    "RAY_NAMESPACE",
    # Of the Ray node, job or worker that this process was started in.
    "RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_NODE_ID", "RAY_OVERRIDE_NODE_ID_FOR_TESTING", "RAY_CLIENT_MODE",
    # Would pack and install things for the workers, or run code that this environment need not have.
    "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_RUNTIME_ENV_HOOK", "RAY_OVERRIDE_JOB_RUNTIME_ENV",
    # What a cluster has in store, where it keeps its books, and where its parts are.
    "RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS", "RAY_REDIS_ADDRESS", "RAY_GCS_SERVER_PORT", "RAY_gcs_storage",
    "RAY_ENABLE_GCS_LEADER_ELECTION", "RAY_OVERRIDE_DASHBOARD_URL",
)  # fmt: skip
"""What a Ray on this machine must not get: it describes another Ray."""


@dataclass(frozen=True)
class Named:
    """A cluster to join, and who named it. Without an address, Ray is started on this machine."""

    address: str | None
    by: str


def named_address(wanted: RayOptions, environment: Mapping[str, str]) -> Named:
    """What `--address` says, or else `RAY_ADDRESS`, in which `ray job submit` and Ray's nodes name their cluster.

    Raises:
        ClusterError: it is no address that a driver can join.
    """
    by, address = ("--address", wanted.address) if wanted.address is not None else (ADDRESS, environment.get(ADDRESS))
    if address == "" and by == "--address":
        raise ClusterError("--address is empty: give `auto` or host:port, or leave it out to start Ray on this machine")
    if not address or address == "local":
        return Named(None, by)
    if address.startswith(("http://", "https://")):
        raise ClusterError(
            f"{by} is {address}, which is a dashboard: hand the run in there with `python -m sweep submit`, or join "
            "the cluster at host:port (6379 where no port was chosen)"
        )
    if "://" in address:
        raise ClusterError(
            f"{by} is {address}: a sweep cannot be driven through Ray Client. Start it on a node of that cluster and "
            "give host:port (6379 where no port was chosen) or `auto`"
        )
    return Named(address, by)


def started_here(environment: Mapping[str, str]) -> dict[str, str | None]:
    """Changes of the environment for a Ray that is started on this machine. None: the variable goes."""
    changes: dict[str, str | None] = dict.fromkeys(INHERITED)
    changes |= {name: str(wait.ours) for name, wait in WAITS.items() if name not in environment}
    for name in ("no_proxy", "NO_PROXY"):
        changes[name] = ",".join(filter(None, [environment.get(name), "127.0.0.1", "localhost"]))
    return changes | STARTED_HERE


@contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Have the environment changed in this block."""
    before = {name: os.environ.get(name) for name in changes}
    _change(changes)
    try:
        yield
    finally:
        _change(before)


def _change(changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
