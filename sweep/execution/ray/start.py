"""Starting Ray on this machine, for this user alone, and leaving nothing of it."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.ray import cleaner
from sweep.execution.ray.dashboard import LOCALHOST, Dashboard
from sweep.execution.ray.environment import environment, started_here
from sweep.execution.ray.folder import RayFolder, make_folder
from sweep.execution.ray.guard import RayLost
from sweep.execution.ray.limits import check_open_files, object_store, shared_memory
from sweep.execution.ray.options import RayOptions
from sweep.execution.ray.token import WITH_RAYS_COMMAND, home_folder, own_token

logger = logging.getLogger(__name__)

STARTS = 2
NO_DEVICES = ("-1", "NoDevFiles")
TELLING = {
    "Too many open files": "too many open files: raise `ulimit -n`",
    "Resource temporarily unavailable": "no more threads allowed: raise `ulimit -u`, or the container's limit of pids",
    "No space left on device": "no space left for Ray's temporary files: set TMPDIR to a folder with more room",
    "Timed out waiting for file": "its agents took over 15 s to start: this machine is very busy, or its disk slow",
}  # fmt: skip
"""What Ray's logs may hold when it does not start, and what that means."""
LAST_LINES = 15
COMPLAINT = re.compile(r"^\[\S+ \S+ [EC] |[Ee]rror|Check failed")


@dataclass(frozen=True)
class Ray:
    """A Ray that this process uses.

    Attributes:
        context: what `ray.init` gave.
        shared: whether it was in use before, and is left to whoever started it.
        sign_in: how to come by the dashboard's token.
        dashboard: the one that starts later, if any.
    """

    context: Any
    shared: bool = False
    sign_in: str = WITH_RAYS_COMMAND
    dashboard: Dashboard | None = None


@contextmanager
def started(run: str, data_bytes: int, wanted: RayOptions, say: Callable[[str], None]) -> Iterator[Ray]:
    """Start Ray, and start it again from scratch if that fails. On a busy machine Ray may lack patience.

    Raises:
        ClusterError: it does not start.
    """
    check_open_files()
    _port(wanted.metrics_port)
    with environment(started_here(os.environ)), ExitStack() as stack:
        import ray  # reads the environment as it is imported

        if ray.is_initialized():
            yield Ray(ray.init(ignore_reinit_error=True), shared=True)
            return
        for left in reversed(range(STARTS)):
            first = left == STARTS - 1
            try:
                begun = stack.enter_context(_started_once(run, data_bytes, wanted, say if first else _say_nothing))
                break
            except _StartError as failure:
                if not left:
                    raise ClusterError(f"cannot start Ray on this machine: {failure}") from failure.__cause__
                say(f"Ray did not start ({failure}); starting it again from scratch ...")
        yield begun


def _say_nothing(line: str) -> None:
    """What was said at the first start."""


class _StartError(Exception):
    """A start failed, and what there was of it has been cleared away."""


@contextmanager
def _started_once(run: str, data_bytes: int, wanted: RayOptions, say: Callable[[str], None]) -> Iterator[Ray]:
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
        stack.enter_context(environment(changes))
        stack.callback(ray.shutdown)
        dashboard = stack.enter_context(Dashboard(say)) if wanted.dashboard else None
        try:
            with lean_ray():
                options = _options(data_bytes, wanted, dashboard, folder, say)
                context = initialised(**options, **names_of(run))
        # Ray has no class of its own for this: it raises what it comes across, bare exceptions too.
        except Exception as error:
            logger.exception("Ray did not start%s", _last_words(folder))
            raise _StartError(_reason(error, folder)) from error
        if dashboard is not None:
            dashboard.of(ray._private.worker._global_node)
        try:
            yield Ray(context, sign_in=sign_in, dashboard=dashboard)
        except (Exception, RayLost):
            if told := _last_words(folder):
                logger.error("Ray's own processes complained:%s", told)  # its folder goes
            raise


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
        "_metrics_export_port": wanted.metrics_port or _port(),
        "_temp_dir": str(folder.rays),
    }
    if store.folder is not None:
        options["_plasma_directory"] = str(store.folder)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() in NO_DEVICES:
        options["num_gpus"] = 0  # Ray takes -1 for the name of a card
    return options


def names_of(run: str) -> dict[str, Any]:
    """Options of `ray.init` with which people find a run among others."""
    from ray.job_config import JobConfig

    return {
        "log_to_driver": False,
        "job_config": JobConfig(metadata={"job_name": f"sweep {run}", "run": run}),
        "namespace": f"sweep-{run}",
    }


def initialised(**options: Any) -> Any:  # noqa: ANN401 (Ray is untyped)
    """`ray.init`, which leaves SIGTERM to whoever handles it. Meanwhile it ends the process as Ctrl-C does."""
    import ray

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        return ray.init(**options)
    except SystemExit:  # raised by Ray's own handler
        raise KeyboardInterrupt from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def lean_ray() -> Iterator[None]:
    """What `ray.init` starts in the block is what trials need. Ray has no options of its own for this.

    - The agent of the dashboard takes a free port. Its own is the same for all, and a second Ray on this machine would
      have no jobs in its dashboard.
    - No process brings the workers' output here, since nobody reads it: it is in their files.
    - The dashboard starts later (`Dashboard`), and with it the autoscaler, which has nothing to scale: only the
      dashboard's first page shows what it says of resources. Without one, Ray would start a server of usage statistics
      in its place, which are off.
    """
    from ray._private import node, parameter

    whole, server = parameter.RayParams, node.Node.start_api_server
    parameter.RayParams = partial(whole, dashboard_agent_listen_port=0, include_log_monitor=False, no_monitor=True)
    node.Node.start_api_server = lambda self, **options: None
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = whole, server


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


def reason_of(error: Exception) -> str:
    """What Ray raised, on one line. It puts whole tracebacks into messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "Traceback" in str(error) else " ".join(lines)


def _reason(error: Exception, folder: RayFolder) -> str:
    """Why a start failed: the cause in Ray's logs where one is known, or else what Ray raised."""
    logged = "\n".join(_logged(folder))
    return next((meaning for sign, meaning in TELLING.items() if sign in logged), reason_of(error))


def _last_words(folder: RayFolder) -> str:
    """What Ray's own processes complained of, for the run's log: Ray's folder goes."""
    return "".join(f"\n  {line}" for line in _logged(folder)[-LAST_LINES:])


def _logged(folder: RayFolder) -> list[str]:
    found: list[str] = []
    for name in ("gcs_server", "raylet"):
        for file in folder.rays.glob(f"session_2*/logs/{name}.*"):
            with suppress(OSError):
                found += [
                    line.strip() for line in file.read_text(errors="replace").splitlines() if COMPLAINT.search(line)
                ]
    return found


def _port(asked: int | None = None) -> int:
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
