"""When Ray's dashboard starts: as it is opened, once, and never behind the end."""

from __future__ import annotations

import queue
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sweep.execution.ray.dashboard import Dashboard


class Node:
    """In place of Ray's: remembers what it started, and by which thread. Its dashboard names the page."""

    def __init__(self, port: int = 0, error: Exception | None = None) -> None:
        self.started: list[str] = []
        self.threads: list[threading.Thread] = []
        self.done = threading.Event()
        self.server: HTTPServer | None = None
        self._port, self._error = port, error

    def start_monitor(self) -> None:
        self.started.append("monitor")

    def start_dashboard(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
        assert include_dashboard and raise_on_failure
        self.started.append("dashboard")
        self.threads.append(threading.current_thread())
        self.done.set()
        if self._error is not None:
            raise self._error
        self.server = HTTPServer(("127.0.0.1", self._port), Page)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"page {self.path}".encode())

    def log_message(self, *_: object) -> None:
        """Nothing into the tests' output."""


@pytest.fixture
def said() -> queue.Queue[str]:
    return queue.Queue()


@pytest.fixture
def dashboard(said: queue.Queue[str]) -> Iterator[Dashboard]:
    with Dashboard(said.put) as made:
        yield made


def listen_at(port: int) -> None:
    """As Ray does."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()


@pytest.fixture
def node(dashboard: Dashboard) -> Iterator[Node]:
    made = Node(dashboard.port)
    yield made
    made.close()


def test_whoever_opens_it_gets_the_page_that_they_asked_for(dashboard: Dashboard, node: Node) -> None:
    dashboard.of(node)
    assert not node.done.wait(0.1) and node.started == []
    assert urllib.request.urlopen(f"{dashboard.url}/api/version?of=it").read() == b"page /api/version?of=it"
    assert urllib.request.urlopen(dashboard.url).read() == b"page /"  # by the dashboard itself
    assert node.started == ["monitor", "dashboard"]
    assert node.threads[0].is_alive(), "the kernel ends what a thread started when that thread ends"
    dashboard.__exit__(None, None, None)
    node.threads[0].join(10)
    assert not node.threads[0].is_alive() and node.started == ["monitor", "dashboard"]


def answer_to(request: bytes, dashboard: Dashboard, node: Node) -> bytes:
    """What somebody hears who asked before Ray was up, and beside whom a browser had opened a spare connection."""
    with socket.create_connection(("127.0.0.1", dashboard.port)) as spare, suppress(OSError):
        with socket.create_connection(("127.0.0.1", dashboard.port)) as early:
            early.sendall(request)
            dashboard.of(node)
            answer = early.recv(2**16)
        spare.recv(1)
    return answer


def test_who_opens_it_before_ray_is_up_waits(dashboard: Dashboard, node: Node) -> None:
    answer = answer_to(b"GET /there HTTP/1.1\r\n\r\n", dashboard, node)
    assert answer.startswith(b"HTTP/1.1 307 ") and b"\r\nLocation: /there\r\n" in answer


@pytest.mark.parametrize("request_", [b"GET //evil.example/ HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"GET /a b HTTP/1.1"])
def test_nobody_is_sent_to_another_server(dashboard: Dashboard, node: Node, request_: bytes) -> None:
    assert b"\r\nLocation: /\r\n" in answer_to(request_, dashboard, node)


def test_a_run_in_which_nobody_opens_it_has_none(said: queue.Queue[str]) -> None:
    node = Node()
    with Dashboard(said.put) as dashboard:
        dashboard.of(node)
    assert not node.done.wait(0.1) and said.empty()
    listen_at(dashboard.port)


def test_its_port_is_nobody_elses(dashboard: Dashboard, said: queue.Queue[str]) -> None:
    with pytest.raises(OSError, match="in use"):
        listen_at(dashboard.port)
    with Dashboard(said.put) as other:
        assert other.port != dashboard.port


def test_a_run_goes_on_without_it(dashboard: Dashboard, said: queue.Queue[str]) -> None:
    answer = answer_to(b"GET / HTTP/1.1\r\n\r\n", dashboard, Node(error=RuntimeError("a long story")))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert said.get(timeout=10) == "Ray's dashboard did not start (RuntimeError); the run goes on without it"
