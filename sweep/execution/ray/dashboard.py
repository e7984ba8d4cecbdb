"""Ray's dashboard, which starts when somebody opens it. `ray.init` would start it first, and wait for it.

With the autoscaler's monitor, which its first page shows, it has twelve processes. They take 340 MB and four seconds of
processor time, at the moment when the run's workers load their programs.
"""

from __future__ import annotations

import logging
import re
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
FIRST_PORT, PORTS = 8265, 50
"""As Ray has it: the first one, and how many it tries."""
SECONDS_TO_START = 10.0
SECONDS_TO_ASK = 1.0
SECONDS_BESIDE = 0.1
"""How long further visitors are waited for: a browser opens several connections, and the first may be a spare one."""
REQUEST = re.compile(rb"(?:GET|HEAD) (/(?!/)[!-~]*) HTTP/1")
"""Of a page of this server. Two slashes at the beginning would name another server."""


class Dashboard:
    """Use as a context manager around a Ray that was started here. It listens at the dashboard's port until then.

    Invariant: the thread that started the processes lives until the end, because the kernel ends them with it.

    Args:
        say: told if it does not start. The run goes on without it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._door = _listening()
        self.port = int(self._door.getsockname()[1])
        self._here, self._there = socket.socketpair()  # a byte from here ends the wait there
        self._ended, self._closed = threading.Event(), threading.Event()
        self._node: Any = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{LOCALHOST}:{self.port}"

    def of(self, node: Any) -> None:  # noqa: ANN401 (of `lean_ray`)
        """Name the node that it belongs to, which is up now. From here on it can be opened."""
        self._node = node
        threading.Thread(target=self._live, name="dashboard of Ray", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._here.close()
        if self._node is not None:
            self._ended.wait(SECONDS_TO_START)  # a start cannot be called off
        self._door.close()

    def _live(self) -> None:
        visitors = self._visitors()
        if visitors:
            started = self._start()
            for visitor in visitors:
                with visitor, suppress(OSError):  # whoever asked is gone
                    _answer(visitor, started)
        self._ended.set()
        self._closed.wait()
        self._there.close()

    def _visitors(self) -> list[socket.socket]:
        """Wait until somebody asks for a page. They wait until the dashboard is there. None: the run has ended."""
        visitors: list[socket.socket] = []
        while True:
            ready, _, _ = select.select([self._door, self._there], [], [], SECONDS_BESIDE if visitors else None)
            if self._there in ready:
                for visitor in visitors:
                    visitor.close()
                return []
            if not ready:
                self._door.close()  # the dashboard takes its place
                return visitors
            with suppress(OSError):
                visitors.append(self._door.accept()[0])

    def _start(self) -> bool:
        try:
            self._node.start_monitor()
            self._node.start_dashboard(include_dashboard=True, raise_on_failure=True)
        except Exception as error:  # Ray raises what it comes across, bare exceptions too
            if not self._closed.is_set():
                logger.exception("Ray's dashboard did not start")
                self._say(f"Ray's dashboard did not start ({type(error).__name__}); the run goes on without it")
            return False
        return True


def _answer(visitor: socket.socket, started: bool) -> None:
    """Send whoever asked to the dashboard, which listens where we did."""
    visitor.settimeout(SECONDS_TO_ASK)
    asked = REQUEST.match(visitor.recv(2**16))
    page = asked[1] if asked else b"/"
    status = b"307 Temporary Redirect\r\nLocation: " + page if started else b"503 Service Unavailable"
    said = b"" if started else b"Ray's dashboard did not start. The run goes on without it.\n"
    lines = (
        b"HTTP/1.1 " + status,
        b"Content-Type: text/plain",
        b"Content-Length: %d" % len(said),
        b"Connection: close",
    )
    visitor.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + said)
    visitor.shutdown(socket.SHUT_WR)


def _listening() -> socket.socket:
    """A socket at the first free port. Nobody else can take that meanwhile."""
    for port in (*range(FIRST_PORT, FIRST_PORT + PORTS), 0):  # 0: any
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed is free
        try:
            door.bind((LOCALHOST, port))
            door.listen()
        except OSError:
            door.close()
            continue
        return door
    raise AssertionError("the system gives any free port")
