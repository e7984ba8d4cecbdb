"""The server behind `sweep watch`: a run's report over HTTP, for browsers on this machine alone.

Invariants:
- It listens on 127.0.0.1, and only reads. There is no request that changes anything.
- Its answers are for who asked for this machine by name. A page of a stranger whose name was made to lead here (DNS
  rebinding) gets none.
- The report is made again only after it has changed, and never takes more than a fifth of the time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selector.errors import UserError
from sweep.errors import RunError
from sweep.report.page.page import report_html
from sweep.report.status import status_lines
from sweep.results.overview.sources import Material, read_material
from sweep.results.status import RunStatus, read_status, status_document
from sweep.runs.find import refresh
from sweep.runs.paths import RunPaths
from sweep.storage.outage import describe_os_error

logger = logging.getLogger(__name__)

HERE = "127.0.0.1"
NAMES = (HERE, "localhost", "[::1]")
PORTS = 20
"""So many ports are tried from the wanted one on."""
STATUS_SECONDS, REMOTE_STATUS_SECONDS = 1.0, 10.0
REST = 4.0
"""What was read or made rests so many times as long as that took. A status of 10,000 trials takes over a second.
At least it rests `STATUS_SECONDS`, and a report `REST_SECONDS`."""
REST_SECONDS = 6.0
REQUEST_SECONDS = 30.0
FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
OWN_POLICY = (
    "default-src 'self'; img-src data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = "frame-ancestors 'self'"
"""Who may show the report. What the report itself may do is in its own policy, which it carries."""


@dataclass(frozen=True)
class Report:
    """A report as it was made. `version`: of the run's state that it shows."""

    version: str
    html: str
    made: float
    seconds: float


class Reports:
    """Makes reports of one run. Its data and items are read once they are there, and then remembered."""

    def __init__(self, scratch: Path) -> None:
        """`scratch`: where demo items are made, as nothing is written beside the run."""
        self._scratch = scratch
        self._material = Material()

    def __call__(self, paths: RunPaths) -> str:
        """The report's HTML as the run is now."""
        if self._material.data is None:
            self._material = read_material(paths, scratch=self._scratch)
        return report_html(paths, self._material)


class Watched:
    """A run that is looked at. Calls come from many threads. A report may take long, and the status waits for none."""

    def __init__(
        self, paths: RunPaths, make: Callable[[RunPaths], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`make` gives the report's HTML."""
        self._paths = paths
        self._make = make
        self._clock = clock
        self._looking = threading.Lock()
        self._making = threading.Lock()
        self._status: tuple[float, dict[str, Any]] | None = None  # good until then
        self._report: Report | None = None

    def status(self) -> dict[str, Any]:
        """How the run stands, in the words of the command `status`, and which version of the report can be had."""
        with self._looking:
            return self._look()

    def report(self) -> str:
        """The report, made anew if there is a newer version to be had."""
        with self._making:
            wanted = self.status()["report"]
            if self._report is None or self._report.version != wanted:
                begun = self._clock()
                html = self._make(self._paths)
                self._report = Report(wanted, html, self._clock(), self._clock() - begun)
            return self._report.html

    def _look(self) -> dict[str, Any]:
        if self._status is None or self._clock() >= self._status[0]:
            begun = self._clock()
            refresh(self._paths)
            document = _document(read_status(self._paths))
            keep = REMOTE_STATUS_SECONDS if self._paths.root.is_remote else STATUS_SECONDS
            now = self._clock()
            self._status = now + max(keep, REST * (now - begun)), document
        return {**self._status[1], "report": self._offered(self._status[1]["version"])}

    def _offered(self, version: str) -> str:
        """The version that a request for the report would get now."""
        last = self._report
        rests = last is not None and self._clock() - last.made < max(REST_SECONDS, REST * last.seconds)
        return last.version if last is not None and rests else version


def _document(status: RunStatus) -> dict[str, Any]:
    driver = status.driver.record
    trains = status.planned if status.trains else None
    return {
        "run": status.paths.name,
        "state": status.state.value,
        "lines": [*status_lines(status), *([f"verdict: {status.verdict}"] if status.verdict else [])],
        "done": status.ended if status.trains or driver is None else driver.done,
        "total": trains if status.trains or driver is None else driver.total,
        "version": _version(status),
    }


def _version(status: RunStatus) -> str:
    """Changes with whatever the report shows, and not with the time alone."""
    document = status_document(status)
    for changing in ("driver", "phase"):
        document.pop(changing)
    phase = status.driver.record.phase if status.driver.alive and status.driver.record is not None else None
    return hashlib.sha256(json.dumps([document, phase, status.driver.alive]).encode()).hexdigest()[:16]


class WatchServer(ThreadingHTTPServer):
    """Serves one run. Use it in a `with` block and call `serve_forever`."""

    daemon_threads = True

    def __init__(self, port: int, watched: Watched) -> None:
        """Listen on a port of this machine, 0 for any free one. Raises OSError if it is taken."""
        super().__init__((HERE, port), _Handler)
        self.watched = watched

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{HERE}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (the library's)
        """A browser that goes away in the middle of an answer is nothing to talk about."""


def listen(port: int, watched: Watched) -> WatchServer:
    """A server on the wanted port, or on the next free one.

    Raises:
        RunError: none of `PORTS` ports is free.
    """
    for candidate in range(port, min(port + PORTS, 65536)):
        try:
            return WatchServer(candidate, watched)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise RunError(f"no port from {port} to {candidate} is free; take another one with --port, or any with --port 0")


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: WatchServer
    server_version = "sweep"
    sys_version = ""
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """The page, its two files, how the run stands, or the report."""
        path = urlsplit(self.path).path
        if not _is_here(self.headers.get("Host", "")):
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this page is for browsers that ask for 127.0.0.1\n")
        elif path in FILES:
            name, kind = FILES[path]
            self._answer(HTTPStatus.OK, kind, (resources.files(__package__) / name).read_text(encoding="utf-8"))
        elif path == "/status":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(self._status()))
        elif path == "/report":
            self._answer(HTTPStatus.OK, "text/html", self._report(), REPORT_POLICY)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "nothing here: the page is /\n")

    def _refuse(self) -> None:
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", "only GET: nothing can be changed here\n")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _status(self) -> dict[str, Any]:
        try:
            return self.server.watched.status()
        except (UserError, OSError) as error:
            return {"run": "", "state": "lost", "lines": [_reason(error)], "done": 0, "total": None, "report": None}

    def _report(self) -> str:
        try:
            return self.server.watched.report()
        except Exception as error:  # a fault of the report must not end what shows how the run stands
            if not isinstance(error, UserError | OSError):
                logger.exception("the report could not be made")
            return f"<!doctype html><meta charset=utf-8><title>no report</title><p>no report: {escape(_reason(error))}"

    def _answer(self, status: HTTPStatus, kind: str, text: str, policy: str = OWN_POLICY) -> None:
        content = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", policy)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is for people."""


def _is_here(host: str) -> bool:
    """Whether a request's Host names this machine. The port is another one behind `ssh -L`."""
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    return name.lower() in NAMES and (not port or port.isdecimal())


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return describe_os_error(error)
    return str(error) if isinstance(error, UserError) else f"a fault of the program ({type(error).__name__}: {error})"
