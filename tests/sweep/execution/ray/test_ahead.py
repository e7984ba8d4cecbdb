"""Ray's processes, started ahead: who takes them, who does not, and that nothing is left. The node is not Ray's."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private import node

from sweep.errors import ClusterError
from sweep.execution.ray import ahead
from sweep.execution.ray.ahead import OF_TRIALS, Ahead, modules_ahead
from sweep.execution.ray.cluster import connected
from sweep.execution.ray.options import RayOptions
from sweep.space import parse_space
from tests.sweep.execution.ray.test_start import TIMED_OUT, FakeRay, faked

MIB = 1024**2


class Starts:
    """In place of starting Ray's processes. `hold`: a start waits for it."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.hold.set()
        self.error: Exception | None = None
        self.nodes: list[object] = []
        self.folders: list[Path] = []
        self.threads: list[threading.Thread] = []
        self.blocked: set[int] = set()

    def asked_for(self, options: dict[str, Any]) -> Callable[[], object]:
        self.folders.append(Path(options["_temp_dir"]).parent)
        signal.signal(signal.SIGTERM, lambda number, frame: None)  # as `ray.init` does
        return self._start

    def _start(self) -> object:
        self.threads.append(threading.current_thread())
        self.blocked = set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        assert self.hold.wait(60)
        if self.error is not None:
            raise self.error
        self.nodes.append(object())
        return self.nodes[-1]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Starts]:
    made, before = Starts(), dict(os.environ)
    monkeypatch.setattr(ahead, "node_asked_for", made.asked_for)
    yield made
    made.hold.set()
    for thread in made.threads:
        thread.join(10)
        assert not thread.is_alive()
    assert not any(folder.exists() for folder in made.folders)
    changed = {name for name in set(os.environ) | set(before) if os.environ.get(name) != before.get(name)}
    assert changed <= {*ahead.ENVIRONMENT, "RAY_ADDRESS", "PYTEST_CURRENT_TEST"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    with monkeypatch.context() as patch, faked(patch) as fake:
        yield fake
        fake.shutdowns = len(fake.inits)  # what was not taken is shut down, too


def test_ray_takes_up_what_was_started(starts: Starts, fake: FakeRay) -> None:
    taken: list[object] = []
    fake.at_init = lambda folder: taken.append(node.Node())
    own = node.Node
    with Ahead(RayOptions()) as begun:
        with connected("mine", 0, begun.options):
            assert taken == starts.nodes and len(taken) == 1
            assert fake.folders == [starts.folders[0] / "r"] and starts.folders[0].exists()
            assert starts.threads[0].is_alive(), "the kernel ends what a thread started when that thread ends"
        assert not starts.folders[0].exists() and fake.shutdowns == 1
    assert node.Node is own and len(fake.inits) == 1
    assert signal.SIGHUP in starts.blocked, "a terminal that is closed must not end Ray before its driver"


def test_a_command_that_ends_before_waits_for_no_start(starts: Starts, fake: FakeRay) -> None:
    starts.hold.clear()
    with pytest.raises(ValueError, match="no such data"), Ahead(RayOptions()):
        raise ValueError("no such data")
    assert starts.nodes == [] and not starts.folders[0].exists() and fake.inits == []


def test_it_is_taken_once(starts: Starts, fake: FakeRay) -> None:
    """A driver that leaves Ray because it failed starts from scratch."""
    with Ahead(RayOptions()) as begun:
        for _ in range(2):
            with connected("mine", 0, begun.options):
                pass
    assert len(set(fake.folders)) == 2 and len(starts.nodes) == 1


def test_data_that_needs_a_larger_store_has_ray_started_for_it(starts: Starts, fake: FakeRay) -> None:
    with Ahead(RayOptions()) as begun, connected("mine", 200 * MIB, begun.options):
        assert fake.folders[0].parent not in starts.folders and not starts.folders[0].exists()
    assert len(fake.inits) == 1


def test_a_start_that_fails_is_no_failure_of_the_run(starts: Starts, fake: FakeRay) -> None:
    starts.error = TIMED_OUT
    said: list[str] = []
    with Ahead(RayOptions()) as begun, connected("mine", 0, begun.options, said.append):
        assert fake.folders[0].parent not in starts.folders
    assert said == []


def test_one_that_fails_as_it_is_taken_is_started_again(starts: Starts, fake: FakeRay) -> None:
    fake.errors = [TIMED_OUT]
    with Ahead(RayOptions()) as begun, connected("mine", 0, begun.options):
        assert [folder.parent in starts.folders for folder in fake.folders] == [True, False]


def test_a_port_that_is_taken_is_refused_by_the_start_itself(starts: Starts, fake: FakeRay) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = pytest.raises(ClusterError, match=f"--metrics-port {port}: Address already in use")
        with refused, Ahead(RayOptions(metrics_port=port)) as begun, connected("mine", 0, begun.options):
            pass
    assert starts.threads == []


@pytest.mark.parametrize(("address", "variable"), [("auto", None), ("head:6379", None), (None, "auto")])
def test_a_cluster_that_is_joined_needs_nothing(
    address: str | None, variable: str | None, starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    with Ahead(RayOptions(address=address)) as begun:
        assert begun.options.ahead is not None and begun.options.ahead.take(0, print) is None
    assert starts.folders == []


@pytest.mark.parametrize(
    ("lines", "loaded"),
    [
        ("budget: {trials: 8}", True),
        ("budget: {trials: 8}\nconcurrency: 2", True),
        ("budget: {trials: 8}\nconcurrency: 1", False),
        ("budget: {trials: 1}", False),
        ("budget: {trials: 8}\nresources: {cpus: 2}", False),
        ("budget: {trials: 8}\nresources: {cpus: 1, gpus: 1}", False),
        ("budget: {trials: 8}\nitems: {demo: {train: 9}}\nvlm: {model: {path: demo}}", False),
    ],
)
def test_workers_load_their_program_ahead_where_each_of_them_will_train(lines: str, loaded: bool) -> None:
    space = parse_space(f"name: x\nparameters: {{grpo.lr: 1e-3}}\n{lines}\n", "x.yaml")
    assert modules_ahead(space, RayOptions(cpus=2)) == (OF_TRIALS if loaded else ())
