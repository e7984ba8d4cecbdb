"""Ray's processes, started on this machine while a driver still reads its data. `ray.init` then takes them as its own.

Invariants:
- One thread starts them and lives until they are gone, because the kernel ends them with the thread that started them.
- Whatever goes wrong here is no failure of a run: Ray is then started from scratch, and that start says what is wrong.
- Behind the block nothing is left of them, whether they were taken or not.
- A command whose block ends in the middle of a start ends soon, too: a minute later Ray's client of these processes
  would end it ("Failed to connect to GCS within 60 seconds").
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from sweep.execution.ray.cluster import ENVIRONMENT
from sweep.execution.ray.environment import environment, named_address, started_here
from sweep.execution.ray.options import RayOptions
from sweep.execution.ray.preparation import Prepared, node_asked_for, prepared
from sweep.execution.ray.start import check_start
from sweep.space import SearchSpace

logger = logging.getLogger(__name__)

OF_TRIALS = ("ray.tune", "sweep.execution.ray.trainable")
"""What a worker imports for trials. It takes three seconds of processor time."""


def modules_ahead(space: SearchSpace, wanted: RayOptions) -> tuple[str, ...]:
    """What the workers of a run import before they have work. Ray starts one for each core ahead.

    Nothing where some of them would never train: workers of a model come first, or fewer trials run than there are
    cores.
    """
    cores = wanted.cpus or len(os.sched_getaffinity(0))
    one_each = space.resources.cpus <= 1 and not space.resources.gpus
    enough = min(space.budget.trials or cores, space.concurrency or cores) >= cores
    return OF_TRIALS if space.vlm is None and space.embed is None and one_each and enough else ()


class Ahead:
    """Use as a context manager, in the main thread, around all that may use Ray. See `StartedAhead`.

    Args:
        wanted: what is started. A cluster that is joined needs nothing: then this does nothing.
    """

    def __init__(self, wanted: RayOptions) -> None:
        self._wanted = wanted
        self._around, self._stack = ExitStack(), ExitStack()
        self._ready: Prepared | None = None
        self._node: Any = None
        self._lines: list[str] = []
        self._say: Callable[[str], None] = self._lines.append
        self._settled, self._over = threading.Event(), threading.Event()

    @property
    def options(self) -> RayOptions:
        """What was wanted, with what was started."""
        return replace(self._wanted, ahead=self)

    def __enter__(self) -> Self:
        if named_address(self._wanted, os.environ).address is None:
            handler = signal.getsignal(signal.SIGTERM)  # Ray puts its own there, as it is imported and in `init`
            try:
                self._begin()
            except Exception:  # Ray raises what it comes across; the start from scratch says what is wrong
                logger.info("Ray was not started ahead", exc_info=True)
                self._end()
            finally:
                signal.signal(signal.SIGTERM, handler)
        return self

    def _begin(self) -> None:
        os.environ.update(ENVIRONMENT)
        self._around.enter_context(environment(started_here(os.environ)))
        import ray  # reads the environment as it is imported

        if ray.is_initialized():
            return
        check_start(self._wanted)
        ready = self._stack.enter_context(prepared(0, self._wanted, lambda line: self._say(line)))
        start = partial(self._start, node_asked_for(ready.options))
        threading.Thread(target=start, name="start of Ray", daemon=True).start()
        self._ready = ready

    def _start(self, node: Callable[[], Any]) -> None:
        # A terminal that is closed must not end Ray before the driver does. What is blocked stays so in its processes.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            self._node = node()
        except Exception:  # as above
            logger.info("Ray was not started ahead", exc_info=True)
        self._settled.set()
        self._over.wait()

    def take(self, data_bytes: int, say: Callable[[str], None]) -> AbstractContextManager[Prepared] | None:
        """As `StartedAhead.take`. Waits for the start."""
        ready, self._ready = self._ready, None
        if ready is None:
            return None
        self._settled.wait()
        if self._node is None or ready.options["object_store_memory"] < 2 * data_bytes:
            self._end()
            return None
        self._say = say
        for line in self._lines:
            say(line)
        return self._taken(replace(ready, node=self._node))

    @contextmanager
    def _taken(self, ready: Prepared) -> Iterator[Prepared]:
        try:
            yield ready
        finally:
            self._end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._around.close()

    def _end(self) -> None:
        """Leave nothing. A start that goes on is not waited for: its processes are killed under it."""
        self._stack.close()
        self._over.set()
