"""When Ray's dashboard starts: as it is opened, once, and never behind the end."""

from __future__ import annotations

import queue
import socket
import threading
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from sweep.execution.ray.dashboard import Dashboard


class Node:
    """In place of Ray's: remembers what it started, and by which thread."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started: list[str] = []
        self.threads: list[threading.Thread] = []
        self.done = threading.Event()
        self._error = error

    def start_monitor(self) -> None:
        self.started.append("monitor")

    def start_dashboard(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
        assert include_dashboard and raise_on_failure
        self.started.append("dashboard")
        self.threads.append(threading.current_thread())
        self.done.set()
        if self._error is not None:
            raise self._error


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


def test_it_starts_as_it_is_opened_and_once(dashboard: Dashboard) -> None:
    node = Node()
    dashboard.of(node)
    assert not node.done.wait(0.1) and node.started == []
    with pytest.raises(HTTPError) as answer:
        urllib.request.urlopen(dashboard.url)
    assert answer.value.code == 503 and b'http-equiv="refresh"' in answer.value.read()
    assert node.done.wait(10) and node.started == ["monitor", "dashboard"]
    listen_at(dashboard.port)  # raises if the port is not free for it
    assert node.threads[0].is_alive(), "the kernel ends what a thread started when that thread ends"
    dashboard.__exit__(None, None, None)
    node.threads[0].join(10)
    assert not node.threads[0].is_alive() and node.started == ["monitor", "dashboard"]


def test_who_opens_it_before_ray_is_up_waits(dashboard: Dashboard) -> None:
    node = Node()
    with socket.create_connection(("127.0.0.1", dashboard.port)) as early:
        early.sendall(b"GET / HTTP/1.1\r\n\r\n")
        dashboard.of(node)
        assert early.recv(12) == b"HTTP/1.1 503"
    assert node.done.wait(10)


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
    dashboard.of(Node(RuntimeError("a long story")))
    socket.create_connection(("127.0.0.1", dashboard.port)).close()
    assert said.get(timeout=10) == "Ray's dashboard did not start (RuntimeError); the run goes on without it"
