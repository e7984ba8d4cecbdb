"""Starting Ray, with an `init` that raises as Ray's does: tried again from scratch, then one line; nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from sweep.errors import ClusterError
from sweep.execution.ray import cleaner, cluster
from sweep.execution.ray.cluster import connected
from sweep.execution.ray.options import RayOptions

TIMED_OUT = Exception("The current node timed out during startup.\nIt may be busy.")
Say = Callable[[str], None]


class FakeRay:
    """In place of Ray: its `init` raises what it is given, and remembers with which options it was called."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.inits: list[dict[str, Any]] = []
        self.shutdowns = 0
        self.at_init: Callable[[Path], object] = lambda folder: None

    def init(self, **options: Any) -> object:
        self.inits.append(options)
        self.at_init(Path(options.get("_temp_dir", ".")))
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray does
        if self.errors:
            raise self.errors.pop(0)
        return SimpleNamespace(dashboard_url=None)

    def shutdown(self) -> None:
        self.shutdowns += 1

    @property
    def folders(self) -> list[Path]:
        return [Path(options["_temp_dir"]) for options in self.inits]


@contextmanager
def faked(patch: pytest.MonkeyPatch, *errors: BaseException) -> Iterator[FakeRay]:
    """The tests' own Ray, if one runs, stays."""
    fake = FakeRay(*errors)
    patch.setattr(ray, "init", fake.init)
    patch.setattr(ray, "shutdown", fake.shutdown)
    patch.setattr(ray, "is_initialized", lambda: False)
    patch.setattr(cluster, "_parts", lambda here: [])
    patch.setattr(cluster, "_describe", lambda used, guard, here, joined: used.context)
    handler = signal.getsignal(signal.SIGTERM)
    yield fake
    assert signal.getsignal(signal.SIGTERM) is handler, "SIGTERM is for the driver to handle"
    for folder in fake.folders:
        assert not folder.parent.exists(), "Ray's folder goes with it"
    assert fake.shutdowns == len(fake.inits)


def test_a_start_that_fails_once_is_tried_again_from_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with faked(monkeypatch, TIMED_OUT) as fake, connected("mine", 0, RayOptions(), said.append):
        assert len(set(fake.folders)) == 2 and fake.shutdowns == 1
        assert not fake.folders[0].parent.exists() and fake.folders[1].parent.exists()
    assert said == [
        "Ray did not start (The current node timed out during startup. It may be busy.); "
        "starting it again from scratch ..."
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TIMED_OUT, "timed out during startup. It may be busy"),
        (RuntimeError("Traceback (most recent call last):\n  File x\nOSError: no room"), "OSError: no room"),
        (AssertionError(), "AssertionError"),
        (ConnectionError("no GCS"), "no GCS"),
        (OSError(98, "Address already in use"), "Address already in use"),
    ],
)
def test_a_start_that_fails_twice_is_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    failing = faked(monkeypatch, error, error)
    with failing, pytest.raises(ClusterError, match=said) as raised, connected("mine", 0, RayOptions()):
        pass
    assert "\n" not in str(raised.value) and str(raised.value).startswith("cannot start Ray on this machine: ")


def test_the_cause_in_rays_logs_is_what_people_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def log(folder: Path) -> None:
        (logs := folder / "session_2026" / "logs").mkdir(parents=True)
        (logs / "raylet.err").write_text("[2026-11-26 13:16:46,055 C 1 1] (raylet) Timed out waiting for file x\n")

    with faked(monkeypatch, TIMED_OUT, TIMED_OUT) as fake:
        fake.at_init = log
        with pytest.raises(ClusterError, match="its agents took over 15 s"), connected("mine", 0, RayOptions()):
            pass


def test_sigterm_while_ray_starts_ends_the_driver_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = faked(monkeypatch, SystemExit(signal.SIGTERM))
    with ended, pytest.raises(KeyboardInterrupt), connected("mine", 0, RayOptions()):
        pass


@pytest.mark.parametrize("odd", ["-1", "NoDevFiles", "-1,0"])
def test_cards_that_are_hidden_are_not_offered(monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", odd)
    with faked(monkeypatch) as fake, connected("mine", 0, RayOptions()):
        pass
    assert fake.inits[0]["num_gpus"] == 0


def test_ray_address_is_joined_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with monkeypatch.context() as patch:
        fake = FakeRay()
        patch.setattr(ray, "init", fake.init)
        patch.setattr(ray, "shutdown", fake.shutdown)
        patch.setattr(ray, "is_initialized", lambda: False)
        patch.setattr(cluster, "_parts", lambda here: [])
        patch.setattr(cluster, "_describe", lambda used, guard, here, joined: used.context)
        with connected("mine", 0, RayOptions(cpus=4), said.append):
            pass
    assert fake.inits[0]["address"] == "auto" and "num_cpus" not in fake.inits[0]
    assert said == ["cluster    auto, which RAY_ADDRESS names (--address local starts Ray here instead)"]


def test_what_a_killed_driver_left_is_ended_and_removed(short: Path) -> None:
    """Two of Ray's agents survive their driver. They change their names but keep their logs open."""
    (folder := short / "sweep-12345678" / "r").mkdir(parents=True)
    with (folder / "agent.log").open("w") as log:
        agent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=log)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    driver = (
        "import os, signal\nfrom pathlib import Path\nfrom sweep.execution.ray.preparation import _cleaned_after\n"
        f"with _cleaned_after(Path({str(folder.parent)!r})):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run(
        [sys.executable, "-c", driver], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False
    )
    assert agent.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while folder.parent.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.parent.exists() and other.poll() is None and not cleaner.processes_in(str(folder.parent))
    other.kill()
    other.wait()


def test_a_metrics_port_that_is_taken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with faked(monkeypatch) as fake:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            taken = pytest.raises(ClusterError, match=f"--metrics-port {port}: Address already in use; name another")
            with taken, connected("mine", 0, RayOptions(metrics_port=port)):
                pass
        assert fake.inits == []
        with connected("mine", 0, RayOptions(metrics_port=port)):
            assert [options["_metrics_export_port"] for options in fake.inits] == [port]
