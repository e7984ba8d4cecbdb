"""Starting Ray, or joining it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.ray.environment import ADDRESS, environment, named_address
from sweep.execution.ray.guard import Guard, Part, RayLost, agents_of
from sweep.execution.ray.options import FAIL_SOON, RayOptions
from sweep.execution.ray.start import Ray, initialised, names_of, reason_of, started
from sweep.execution.ray.token import WITH_RAYS_COMMAND, how_to_be_let_in

# Our own loggers write what Tune's would, at a fraction of the time per trial; Ctrl-C is handled by the runner; nothing
# is sent to anyone.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
SECONDS_TO_ANSWER = 10.0
PATIENCE = {True: 1.0, False: 45.0}
"""Seconds without the control service until it counts as dead. Only that of a cluster may come back; Ray waits 60 s."""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster in use. `dashboard` and `metrics` are URLs, or None where there is none; `token` says whether the
    dashboard asks for one (Ray's default since 2.60 for what it starts on this machine), `sign_in` how to come by it.
    `lost` says which of Ray's processes is gone, if one is. `started_here`: by this process. `alone`: no other machine
    is part of it, or will be.
    """

    cpus: float
    gpus: float
    dashboard: str | None
    metrics: str | None
    token: bool
    sign_in: str = WITH_RAYS_COMMAND
    lost: Callable[[], str | None] = lambda: None
    started_here: bool = False
    alone: bool = True


@contextmanager
def connected(
    run: str,
    data_bytes: int,
    wanted: RayOptions,
    say: Callable[[str], None] = lambda line: None,
    go_on: str = "",
) -> Iterator[Cluster]:
    """Join a cluster, or start one on this machine that only this machine, and only this user, can reach.

    A Ray that this process already uses is used as it is and left running; what was started here is stopped here.

    Args:
        run: names the job.
        data_bytes: size of the training data, for the object store.
        wanted: which cluster.
        say: shows people a line.
        go_on: the command that continues, for the last words of a driver that does not come to its end.

    Raises:
        ClusterError: the cluster cannot be reached or started, or is lost while it is in use.
    """
    os.environ.update(ENVIRONMENT)
    named = named_address(wanted, os.environ)
    with ExitStack() as behind, ExitStack() as stack:
        if named.address is None:
            ray = stack.enter_context(started(run, data_bytes, wanted, say))
        else:
            if named.by == ADDRESS:
                say(f"cluster    {named.address}, which {ADDRESS} names (--address local starts Ray here instead)")
            ray = stack.enter_context(_joined(run, named.address))
        parts = [] if ray.shared else _parts(here=named.address is None)
        agents = agents_of(os.getpid()) if named.address is None and not ray.shared else {}
        guard = Guard(parts, agents, lambda lost: say(f"error: {lost}; `{go_on}` goes on"))
        behind.callback(guard.over)
        try:
            with guard:
                yield _describe(ray, guard, here=named.address is None and not ray.shared, joined=named.address)
        except RayLost as lost:
            raise ClusterError(str(lost)) from None


@contextmanager
def _joined(run: str, address: str) -> Iterator[Ray]:
    with environment(FAIL_SOON):
        import ray  # reads the environment as it is imported

        if ray.is_initialized():
            yield Ray(ray.init(ignore_reinit_error=True), shared=True)
            return
        _check_answers(address)
        try:
            context = initialised(address=address, **names_of(run))
        except Exception as error:  # Ray raises what it comes across, bare exceptions too
            ray.shutdown()
            reason = reason_of(error).partition(". Ensure that the token")[0]  # a page that advises on every case
            raise ClusterError(
                f"cannot join the Ray cluster at {address!r}: {reason}; {how_to_be_let_in(os.environ)}"
            ) from error
    try:
        yield Ray(context)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse a `host:port` at which nothing listens at once; Ray itself would go on trying."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # `auto`, or something that Ray refuses by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address!r}: nothing answers there ({error}); is its head running, and is "
            "this its port (6379 where none was chosen)?"
        ) from None


def may_have_nodes(wanted: RayOptions) -> bool:
    """Whether the Ray that is wanted may have other machines. One that would be started here has not."""
    return named_address(wanted, os.environ).address is not None or _has_nodes()


def _has_nodes() -> bool:
    """Whether this process uses a Ray of several nodes already. Ray is not imported for that."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and sum(node["Alive"] for node in ray.nodes()) > 1


def _describe(used: Ray, guard: Guard, *, here: bool, joined: str | None) -> Cluster:
    import ray

    context, resources = used.context, ray.cluster_resources()
    token = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else None
    return Cluster(
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        dashboard=dashboard if used.dashboard is None else used.dashboard.url,
        metrics=_metrics_url(),
        token=token,
        sign_in=used.sign_in,
        lost=guard.lost,
        started_here=here,
        alone=joined is None and not _has_nodes(),
    )


def _metrics_url() -> str | None:
    """Of this node: the sweep's own gauges are exported where the driver is."""
    node = _this_node()
    if node is None or not node.get("MetricsExportPort"):
        return None
    return f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"


def _this_node() -> dict[str, Any] | None:
    import ray

    here = ray.get_runtime_context().get_node_id()
    return next((node for node in ray.nodes() if node["NodeID"] == here), None)


def _parts(*, here: bool) -> list[Part]:
    """What the driver cannot do without: the control service, and the raylet of its own node."""
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    parts = [Part("its control service (GCS)", (host.strip("[]"), int(port)), PATIENCE[here])]
    if node := _this_node():
        address = node["NodeManagerAddress"], int(node["NodeManagerPort"])
        parts.append(Part("its raylet, which runs the workers of this machine,", address, PATIENCE[True]))
    return parts
