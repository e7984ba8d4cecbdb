"""A real head, started by the entry command, and the health check of the images against it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sweep.execution.ray.options import LOOPBACK_ONLY
from tests.docker.images import DOCKER, ENTRYPOINT

pytestmark = pytest.mark.slow
LOCALHOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Head:
    """A running head: its process, its folder and what its container's environment would be."""

    process: subprocess.Popen[bytes]
    folder: Path
    environment: dict[str, str]
    dashboard: str
    token: str

    def health(self, **change: str) -> int:
        environment = self.environment | change
        result = subprocess.run([str(ENTRYPOINT), "health"], env=environment, capture_output=True, timeout=60)
        return result.returncode

    def listens(self) -> bool:
        """Whether it is worth asking: each question starts Python twice."""
        with socket.socket() as probe:
            return probe.connect_ex((LOCALHOST, int(self.dashboard.rpartition(":")[2]))) == 0

    def answer(self, **headers: str) -> int:
        """HTTP status of a dashboard page that only the token's owner may see."""
        try:
            request = urllib.request.Request(f"{self.dashboard}/api/version", headers=headers)
            return int(urllib.request.urlopen(request, timeout=10).status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code


@pytest.fixture
def head() -> Iterator[Head]:
    # A short path, since Ray makes sockets below it; its own, since Ray notes the newest cluster of a machine there.
    folder = Path(tempfile.mkdtemp(prefix="swd-"))
    token = secrets.token_hex(32)
    (folder / "token").write_text(token + "\n")
    dashboard = free_port()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "SWEEP_OBJECT_STORE": "100000000",
        "SWEEP_AGENT_PORT": str(free_port()),
        **LOOPBACK_ONLY,
    }
    options = [
        f"--port={free_port()}",
        f"--dashboard-port={dashboard}",
        f"--metrics-export-port={free_port()}",
        f"--ray-client-server-port={free_port()}",
        f"--dashboard-host={LOCALHOST}",
        "--num-cpus=1",
    ]
    with (folder / "output").open("wb") as output:
        command = [str(ENTRYPOINT), "head", *options]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        yield Head(process, folder, environment, f"http://{LOCALHOST}:{dashboard}", token)
    finally:
        process.terminate()
        try:
            process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def test_health_check_needs_the_head_and_its_token(head):
    deadline = time.monotonic() + 90
    while not head.listens() or head.health() != 0:
        assert head.process.poll() is None, (head.folder / "output").read_text()
        assert time.monotonic() < deadline, (head.folder / "output").read_text()
        time.sleep(0.2)

    wrong = head.folder / "wrong"
    wrong.write_text("0" * 64)
    assert head.health(RAY_AUTH_TOKEN_PATH=str(wrong)) != 0
    assert head.health(RAY_AUTH_TOKEN_PATH=str(head.folder / "missing")) != 0
    assert head.health(RAY_AUTH_MODE="disabled") != 0
    assert head.health(SWEEP_AGENT_PORT=str(free_port())) != 0  # a head that answers is not yet a node that lives
    assert (head.answer(), head.answer(Authorization="Bearer " + "0" * 64)) == (401, 403)
    assert head.answer(Authorization=f"Bearer {head.token}") == 200
    assert head.health() == 0
    # What Kubernetes asks, without a token: the path is that of the files for KubeRay.
    probe = yaml.safe_load((DOCKER / "kubernetes" / "raycluster.yaml").read_text(encoding="utf-8"))["spec"]
    (container,) = probe["headGroupSpec"]["template"]["spec"]["containers"]
    path = container["readinessProbe"]["httpGet"]["path"]
    agent = f"http://{LOCALHOST}:{head.environment['SWEEP_AGENT_PORT']}{path}"
    assert urllib.request.urlopen(agent, timeout=10).status == 200

    head.process.send_signal(signal.SIGTERM)  # what compose sends
    head.process.wait(timeout=40)
    assert head.health() != 0
