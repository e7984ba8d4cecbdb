"""Starting Ray, or joining it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.ray.options import FAIL_SOON, LOOPBACK_ONLY, RayOptions

# Our own loggers write what Tune's would, at a fraction of the time per trial; Ctrl-C is handled by the runner; nothing
# is sent to anyone.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
LOCALHOST = "127.0.0.1"
HOW_TO_SIGN_IN = "`ray get-auth-token` prints the token it asks for"
SECONDS_TO_ANSWER = 10.0
SMALLEST_STORE = 256 * 1024**2


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster in use. `dashboard` and `metrics` are URLs, or None where there is none; `token` says whether the
    dashboard asks for one (Ray's default since 2.60 for what it starts on this machine).
    """

    cpus: float
    gpus: float
    dashboard: str | None
    metrics: str | None
    token: bool


@contextmanager
def connected(run: str, data_bytes: int, wanted: RayOptions) -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine that only this machine can reach.

    A Ray that this process already uses is used as it is and left running; what was started here is stopped here.

    Args:
        run: names the job.
        data_bytes: size of the training data, for the object store.
        wanted: which cluster.

    Raises:
        ClusterError: the cluster cannot be reached or started.
    """
    os.environ.update(ENVIRONMENT | (LOOPBACK_ONLY if wanted.address is None else FAIL_SOON))
    import ray  # reads the environment as it is imported
    from ray.job_config import JobConfig

    if ray.is_initialized():
        yield _describe(ray.init(ignore_reinit_error=True))
        return
    options: dict[str, Any] = {
        "log_to_driver": False,
        "job_config": JobConfig(metadata={"job_name": f"sweep {run}", "run": run}),
        "namespace": f"sweep-{run}",
    }
    if wanted.address is None:
        options |= {
            "num_cpus": wanted.cpus or len(os.sched_getaffinity(0)),
            "object_store_memory": max(SMALLEST_STORE, 2 * data_bytes),
            "include_dashboard": wanted.dashboard,
            "dashboard_host": LOCALHOST,
            "_metrics_export_port": _free_port(),
        }
    else:
        _check_answers(wanted.address)
        options["address"] = wanted.address
    try:
        context = ray.init(**options)
    except Exception as error:  # Ray has no class of its own for this: it raises what it comes across, bare ones too
        ray.shutdown()  # what did start
        where = f"join the Ray cluster at {wanted.address!r}" if wanted.address else "start Ray on this machine"
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[-1] if "Traceback" in str(error) else " ".join(lines)  # Ray puts whole tracebacks into messages
        raise ClusterError(f"cannot {where}: {reason}") from error
    try:
        yield _describe(context)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse a `host:port` at which nothing listens at once; Ray itself would go on trying."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # `auto`, or something that Ray refuses by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address!r}: nothing answers there ({error}); is its head running, and is "
            "this its port (6379 where none was chosen)?"
        ) from None


def _describe(context: Any) -> Cluster:  # noqa: ANN401 (Ray is untyped)
    import ray

    resources = ray.cluster_resources()
    token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else None
    return Cluster(resources.get("CPU", 0.0), resources.get("GPU", 0.0), dashboard, _metrics_url(), token)


def _metrics_url() -> str | None:
    """Of this node: the sweep's own gauges are exported where the driver is."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == here and node.get("MetricsExportPort"):
            return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])
