"""What is around a Ray that is started here: a private folder, a token, a port, and all that `ray.init` is given."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.ray import cleaner
from sweep.execution.ray.dashboard import LOCALHOST, Dashboard
from sweep.execution.ray.environment import environment
from sweep.execution.ray.folder import RayFolder, make_folder
from sweep.execution.ray.limits import object_store, shared_memory
from sweep.execution.ray.options import RayOptions
from sweep.execution.ray.token import home_folder, own_token

NO_DEVICES = ("-1", "NoDevFiles")


@dataclass(frozen=True)
class Prepared:
    """All that a Ray on this machine needs.

    Attributes:
        folder: its temporary one.
        options: of `ray.init`, without those that name the run.
        sign_in: how to come by the dashboard's token.
        dashboard: what starts it when it is opened, if it is wanted.
        node: Ray's processes, if they run already.
    """

    folder: RayFolder
    options: dict[str, Any]
    sign_in: str
    dashboard: Dashboard | None
    node: Any = None


@contextmanager
def prepared(data_bytes: int, wanted: RayOptions, say: Callable[[str], None]) -> Iterator[Prepared]:
    """Prepare a start. Behind the block Ray is shut down, and nothing is left of it."""
    import ray

    folder = make_folder(os.environ, say)
    with ExitStack() as stack:
        stack.callback(folder.remove)
        stack.enter_context(_cleaned_after(folder.path))
        stack.callback(cleaner.end_processes, str(folder.path))
        home = home_folder()
        changes, sign_in = own_token(os.environ, home, folder.path)
        if home is None:  # some libraries cannot be imported without one
            changes["HOME"] = str(folder.path)
        stack.enter_context(environment(_workers_ahead(wanted) | changes))
        stack.callback(ray.shutdown)
        dashboard = stack.enter_context(Dashboard(say)) if wanted.dashboard else None
        yield Prepared(folder, _options(data_bytes, wanted, dashboard, folder, say), sign_in, dashboard)


def _workers_ahead(wanted: RayOptions) -> dict[str, str | None]:
    """Has the raylet start a worker for each core at once, which loads its program while the driver reads its data."""
    if not wanted.preload:
        return {}
    return {"RAY_enable_worker_prestart": "1", "RAY_preload_python_modules": ",".join(wanted.preload)}


def _options(
    data_bytes: int, wanted: RayOptions, dashboard: Dashboard | None, folder: RayFolder, say: Callable[[str], None]
) -> dict[str, Any]:
    store = object_store(data_bytes, shared_memory(), folder.rays, say)
    options: dict[str, Any] = {
        "address": "local",
        "num_cpus": wanted.cpus or len(os.sched_getaffinity(0)),
        "object_store_memory": store.size,
        "include_dashboard": dashboard is not None,
        "dashboard_host": LOCALHOST,
        "dashboard_port": None if dashboard is None else dashboard.port,
        "_metrics_export_port": wanted.metrics_port or free_port(),
        "_temp_dir": str(folder.rays),
    }
    if store.folder is not None:
        options["_plasma_directory"] = str(store.folder)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() in NO_DEVICES:
        options["num_gpus"] = 0  # Ray takes -1 for the name of a card
    return options


@contextmanager
def lean_ray(begun: Any = None) -> Iterator[None]:  # noqa: ANN401 (Ray's `Node`)
    """What `ray.init` starts in the block is what trials need. Ray has no options of its own for this.

    - The agent of the dashboard takes a free port. Its own is the same for all, and a second Ray on this machine would
      have no jobs in its dashboard.
    - No process brings the workers' output here, since nobody reads it: it is in their files.
    - The dashboard starts when it is opened (`Dashboard`), and with it the autoscaler, which has nothing to scale: only
      the dashboard's first page shows what it says of resources. Without a dashboard, Ray would start a server of usage
      statistics in its place, which are off.

    Args:
        begun: processes that run already. `ray.init` takes them as its own, and `ray.shutdown` ends them.
    """
    from ray._private import node, parameter

    whole, own = parameter.RayParams, node.Node
    # `start_api_server` does nothing, and `start_dashboard` what that did.
    lean = type("Node", (own,), {"start_api_server": _nothing, "start_dashboard": own.start_api_server})
    parameter.RayParams = partial(whole, dashboard_agent_listen_port=0, include_log_monitor=False, no_monitor=True)
    node.Node = lean if begun is None else lambda *arguments, **options: begun
    try:
        yield
    finally:
        parameter.RayParams, node.Node = whole, own


def _nothing(node: Any, **options: Any) -> None:  # noqa: ANN401 (Ray's `Node`)
    """In place of a start."""


class _Asked(BaseException):
    """Leaves `ray.init` where it would start Ray's processes."""


def node_asked_for(options: dict[str, Any]) -> Callable[[], Any]:
    """What starts the processes that `ray.init` would start with these options. Starts nothing yet."""
    import ray
    from ray._private import node

    asked: list[Callable[[], Any]] = []
    with lean_ray():
        lean = node.Node

        def ask(*arguments: object, **settings: object) -> None:
            asked.append(partial(lean, *arguments, **settings))
            raise _Asked

        node.Node = ask
        with suppress(_Asked):
            ray.init(**options, logging_level="ERROR")  # what it warns of is said when it connects
    return asked[0]


@contextmanager
def _cleaned_after(folder: Path) -> Iterator[None]:
    """If this process is killed in the block, Ray's last processes and the folder go all the same."""
    line = [sys.executable, "-E", "-S", cleaner.__file__, str(folder)]
    beside = subprocess.Popen(  # noqa: S603 (our own script)
        line, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with beside:
        try:
            yield
        finally:
            with suppress(BrokenPipeError):  # somebody killed it
                beside.communicate(b".")


def free_port(asked: int | None = None) -> int:
    """A free port, or the one that was asked for. If it is taken, Ray itself would go on without metrics."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed is free
        try:
            probe.bind((LOCALHOST, asked or 0))
        except OSError as error:
            raise ClusterError(
                f"--metrics-port {asked}: {error.strerror}; name another one, or leave it out for any free port"
            ) from None
        return int(probe.getsockname()[1])
