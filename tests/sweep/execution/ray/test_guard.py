"""A Ray that dies under its driver, with sockets in place of Ray's processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from sweep.execution.ray.guard import LOOK_SECONDS, Guard, Part, RayLost, listens


def part(listener: socket.socket, patience: float = 0.2) -> Part:
    return Part("its raylet", listener.getsockname(), patience)


@pytest.fixture
def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_while_all_live_nothing_happens(listener: socket.socket) -> None:
    with listener, Guard([part(listener)]) as guard:
        time.sleep(3 * LOOK_SECONDS)
        assert guard.lost() is None


def test_the_driver_hears_of_a_death_wherever_it_is(listener: socket.socket) -> None:
    began = time.monotonic()
    guard = Guard([part(listener)])
    with pytest.raises(RayLost, match="Ray is gone: its raylet has died"), guard:
        listener.close()
        try:
            time.sleep(60)  # as somebody waits for a worker
        except Exception:  # nobody on the way takes it for a failure of a trial
            pytest.fail("caught")
    assert time.monotonic() - began < 10
    time.sleep(LOOK_SECONDS)  # not a second time
    guard.over()  # or it would end this process


def test_one_that_may_come_back_is_waited_for(listener: socket.socket) -> None:
    with Guard([part(listener, patience=60)]) as guard:
        listener.close()
        time.sleep(3 * LOOK_SECONDS)
        assert guard.lost() == "Ray is gone: its raylet has died", "but a trial that fails now has no part in it"


def test_one_that_is_slow_is_not_dead() -> None:
    """Nobody accepts, and the queue is full, so that connecting takes for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        assert listens(part(listener))


def test_outside_of_the_main_thread_it_only_answers(listener: socket.socket) -> None:
    found: list[str | None] = []

    def elsewhere() -> None:
        with Guard([part(listener)]) as guard:
            listener.close()
            found.append(guard.lost())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == ["Ray is gone: its raylet has died"]


def test_a_driver_that_never_comes_to_its_end_is_ended_with_the_last_words() -> None:
    """As one that waits in a call of Ray's that looks at no signals."""
    driver = (
        "import signal, socket, time\nfrom sweep.execution.ray import guard\nfrom sweep.execution.ray.guard import *\n"
        "guard.SECONDS_TO_END = 0.5\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {guard.SIGNAL})\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "part = Part('its raylet', listener.getsockname(), 0.1)\n"
        "with Guard([part], {}, lambda lost: print('last words:', lost, flush=True)):\n"
        "    listener.close()\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", driver], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == "last words: Ray is gone: its raylet has died\n"


def test_with_an_agent_the_driver_ends_at_once_and_says_why() -> None:
    """Before Ray's library ends it without a word."""
    driver = (
        "import os, signal, subprocess, sys, time\nfrom sweep.execution.ray.guard import Guard\n"
        "agent = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "with Guard([], {agent.pid: 'its DashboardAgent'}):\n    pass\n"
        "from sweep.execution.ray.guard import Part\nimport socket\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "part = Part('its raylet', listener.getsockname(), 60)\n"
        "with Guard([part], {agent.pid: 'its DashboardAgent'}, lambda lost: print('last words:', lost, flush=True)):\n"
        "    agent.kill()\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", driver], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout) == (2, "last words: Ray is gone: its DashboardAgent has died\n"), done.stderr
    assert time.monotonic() - began < 30
