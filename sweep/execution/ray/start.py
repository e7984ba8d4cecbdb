"""Starting Ray on this machine, for this user alone, and leaving nothing of it."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.ray.dashboard import Dashboard
from sweep.execution.ray.environment import environment, started_here
from sweep.execution.ray.folder import RayFolder
from sweep.execution.ray.guard import RayLost
from sweep.execution.ray.limits import check_open_files
from sweep.execution.ray.options import RayOptions
from sweep.execution.ray.preparation import Prepared, free_port, lean_ray, prepared
from sweep.execution.ray.token import WITH_RAYS_COMMAND

logger = logging.getLogger(__name__)

STARTS = 2
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
        dashboard: what starts it when it is opened, if it is wanted.
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
    ahead = None if wanted.ahead is None else wanted.ahead.take(data_bytes, say)
    if ahead is None:
        check_start(wanted)
    with environment(started_here(os.environ)), ExitStack() as stack:
        import ray  # reads the environment as it is imported

        if ray.is_initialized():
            yield Ray(ray.init(ignore_reinit_error=True), shared=True)
            return
        for left in reversed(range(STARTS)):
            first = left == STARTS - 1
            try:
                preparing = (first and ahead) or prepared(data_bytes, wanted, say if first else _say_nothing)
                begun = stack.enter_context(_started_once(run, preparing))
                break
            except _StartError as failure:
                if not left:
                    raise ClusterError(f"cannot start Ray on this machine: {failure}") from failure.__cause__
                say(f"Ray did not start ({failure}); starting it again from scratch ...")
        yield begun


def check_start(wanted: RayOptions) -> None:
    """Refuse what Ray would fail of, or go on without.

    Raises:
        ClusterError: too few open files are allowed, or the port for metrics is taken.
    """
    check_open_files()
    free_port(wanted.metrics_port)


def _say_nothing(line: str) -> None:
    """What was said at the first start."""


class _StartError(Exception):
    """A start failed, and what there was of it has been cleared away."""


@contextmanager
def _started_once(run: str, preparing: AbstractContextManager[Prepared]) -> Iterator[Ray]:
    with preparing as ready:
        try:
            with lean_ray(ready.node):
                context = initialised(**ready.options, **names_of(run))
        # Ray has no class of its own for this: it raises what it comes across, bare exceptions too.
        except Exception as error:
            logger.exception("Ray did not start%s", _last_words(ready.folder))
            raise _StartError(_reason(error, ready.folder)) from error
        if ready.dashboard is not None:
            ready.dashboard.of(_node())
        try:
            yield Ray(context, sign_in=ready.sign_in, dashboard=ready.dashboard)
        except (Exception, RayLost):
            if told := _last_words(ready.folder):
                logger.error("Ray's own processes complained:%s", told)  # its folder goes
            raise


def _node() -> Any:  # noqa: ANN401 (Ray's `Node`)
    from ray._private import worker

    return worker._global_node


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
