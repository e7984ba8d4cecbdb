"""Ray's dashboard, started once the first results are there. `ray.init` would start it first, and wait for it.

With the autoscaler's monitor, which its first page shows, it takes about four seconds of processor time. The run's
workers need that time first: they load their programs then.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
FIRST_PORT, PORTS = 8265, 50
"""As Ray has it: the first one, and how many it tries."""
PATIENCE = 30.0
SECONDS_TO_START = 10.0


class Dashboard:
    """Use as a context manager around a Ray that was started here. Its port is held from the beginning.

    Invariant: the thread that started the processes lives until the end, because the kernel ends them with it.

    Args:
        say: told if it does not start. The run goes on without it.
        patience: seconds without results after which it starts all the same.
    """

    def __init__(self, say: Callable[[str], None], patience: float = PATIENCE) -> None:
        self._say = say
        self._patience = patience
        self._held = _held()
        self.port = int(self._held.getsockname()[1])
        self._wanted, self._ended, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._node: Any = None

    @property
    def url(self) -> str:
        """Where it will be."""
        return f"http://{LOCALHOST}:{self.port}"

    def of(self, node: Any) -> None:  # noqa: ANN401 (Ray's `Node`)
        """Name the node that it belongs to, which is up now. From here on it starts when it is wanted."""
        self._node = node
        threading.Thread(target=self._live, name="dashboard of Ray", daemon=True).start()

    def want(self) -> None:
        """Start it, if that has not been done. Does not wait for it."""
        self._wanted.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._wanted.set()
        if self._node is not None:
            self._ended.wait(SECONDS_TO_START)  # a start cannot be called off
        self._held.close()

    def _live(self) -> None:
        self._wanted.wait(self._patience)
        if not self._closed.is_set():
            self._start()
        self._ended.set()
        self._closed.wait()

    def _start(self) -> None:
        self._held.close()
        try:
            self._node.start_monitor()
            self._node.start_dashboard(include_dashboard=True, raise_on_failure=True)
        except Exception as error:  # Ray raises what it comes across, bare exceptions too
            if not self._closed.is_set():
                logger.exception("Ray's dashboard did not start")
                self._say(f"Ray's dashboard did not start ({type(error).__name__}); the run goes on without it")


def _held() -> socket.socket:
    """A port that nobody else gets, because a socket is bound to it that does not listen."""
    for port in (*range(FIRST_PORT, FIRST_PORT + PORTS), 0):  # 0: any
        held = socket.socket()
        try:
            held.bind((LOCALHOST, port))
        except OSError:
            held.close()
            continue
        return held
    raise AssertionError("the system gives any free port")  # the last bind would have raised
