"""When Ray's dashboard starts: after the first results, once, and never behind the end."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

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
def said() -> list[str]:
    return []


@pytest.fixture
def dashboard(said: list[str]) -> Iterator[Dashboard]:
    with Dashboard(said.append, patience=60) as made:
        yield made


def test_it_starts_with_the_first_result_and_once(dashboard: Dashboard) -> None:
    node = Node()
    dashboard.of(node)
    assert not node.done.wait(0.1) and node.started == []
    dashboard.want()
    dashboard.want()
    assert node.done.wait(10) and node.started == ["monitor", "dashboard"]
    assert node.threads[0].is_alive(), "the kernel ends what a thread started when that thread ends"
    dashboard.__exit__(None, None, None)
    node.threads[0].join(10)
    assert not node.threads[0].is_alive() and node.started == ["monitor", "dashboard"]


def test_it_starts_without_results_when_they_take_long(said: list[str]) -> None:
    node = Node()
    with Dashboard(said.append, patience=0.05) as dashboard:
        dashboard.of(node)
        assert node.done.wait(10)


def test_a_run_that_ends_before_has_none(said: list[str]) -> None:
    node = Node()
    with Dashboard(said.append, patience=60) as dashboard:
        dashboard.of(node)
    dashboard.want()
    assert not node.done.wait(0.1) and said == []


def test_its_port_is_nobody_elses_until_it_starts(dashboard: Dashboard, said: list[str]) -> None:
    def bind(port: int) -> None:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Ray does
            other.bind(("127.0.0.1", port))

    with pytest.raises(OSError, match="in use"):
        bind(dashboard.port)
    with Dashboard(said.append) as other:
        assert other.port != dashboard.port
    node = Node()
    dashboard.of(node)
    dashboard.want()
    assert node.done.wait(10)
    bind(dashboard.port)
    assert dashboard.url == f"http://127.0.0.1:{dashboard.port}"


def test_a_run_goes_on_without_it() -> None:
    said: queue.Queue[str] = queue.Queue()
    with Dashboard(said.put) as dashboard:
        dashboard.of(Node(RuntimeError("a long story")))
        dashboard.want()
        assert said.get(timeout=10) == "Ray's dashboard did not start (RuntimeError); the run goes on without it"
