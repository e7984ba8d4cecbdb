"""A cluster of two raylets on this machine, each of which can be lost and started again."""

from __future__ import annotations

import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.chaos.processes import Kind, end_all, processes_of

# Addresses of this machine alone, which Ray, unlike 127.0.0.1, does not turn into the outer one.
HEAD, SECOND, THIRD, FOURTH = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HEAD, 0))
        return int(probe.getsockname()[1])


class TwoNodes:
    """Head and second node, one core each, started by `ray start`. Use as a context manager."""

    def __init__(
        self,
        log: Path,
        mark: dict[str, str],
        environment: dict[str, str],
        hidden: Sequence[Path] = (),
        labels: Mapping[str, str] | None = None,
        own: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a cluster.

        Args:
            log: what the nodes say.
            mark: the one environment variable that tells these processes from others.
            environment: of both nodes, and of a driver.
            hidden: folders that are empty for the second node, as if it were another machine. Needs root.
            labels: of nodes, by address, as `ray start --labels` takes them.
            own: variables that only the second node has.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="swc-"))  # short: Ray makes sockets below it
        (self._folder / "token").write_text(secrets.token_hex(32) + "\n")
        self.environment = {
            **environment,
            "RAY_TMPDIR": str(self._folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._folder / "token"),
        }
        (self._mark,) = mark.values()
        self._own = {**self.environment, **mark}
        self._log = log
        self._hidden = hidden
        self._labels = labels or {}
        self._second = own or {}
        self._output: IO[bytes] | None = None
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._port = 0
        self.address = ""

    def __enter__(self) -> TwoNodes:
        self._output = self._log.open("ab")
        try:
            self.heal()
        except BaseException:  # nobody else would end what did start
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        if self._output is not None:
            self._output.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _stop(self) -> None:
        end_all(self._mark)
        for node in self._nodes:
            node.wait(10)
        self._nodes = []

    def heal(self, seconds: float = 90) -> None:
        """Wait for both nodes, started again where one is missing; without its head a cluster is made anew."""
        deadline = time.monotonic() + seconds
        while not self._whole():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster does not start; see {self._log}")
            time.sleep(0.2)

    def _whole(self) -> bool:
        """Whether both nodes are up; starts what is missing."""
        if not self._nodes or self._nodes[0].poll() is not None:
            self._stop()
            self._port = free_port()
            self.address = f"{HEAD}:{self._port}"
            head = ["--head", f"--port={self._port}", "--include-dashboard=false", f"--node-ip-address={HEAD}"]
            head += [f"--ray-client-server-port={free_port()}", *self._labels_of(HEAD)]
            self._nodes = [self._start(*head)]
        raylets = sum(process.kind is Kind.RAYLET for process in processes_of(self._mark))
        if raylets == 0 or not self._answers():
            return False
        self.heal_second()
        return raylets == 2 and len(self._nodes) == 2

    def heal_second(self) -> None:
        """Start the second node again if it is lost, and do not wait for it."""
        if self._nodes[0].poll() is not None:
            return
        if len(self._nodes) < 2 or self._nodes[1].poll() is not None:
            self._nodes = [self._nodes[0], self.add(SECOND, self._hidden, self._second)]

    def add(
        self, address: str, hidden: Sequence[Path] = (), own: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one more node, and do not wait for it."""
        options = [f"--address={self.address}", f"--node-ip-address={address}", *self._labels_of(address)]
        return self._start(*options, hidden=hidden, own=own, folder=Path("/"))

    def _labels_of(self, address: str) -> list[str]:
        return [f"--labels={self._labels[address]}"] if address in self._labels else []

    def _start(
        self,
        *options: str,
        hidden: Sequence[Path] = (),
        own: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        common = [
            "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats", "--block",
            "--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}",
        ]  # fmt: skip
        command = [str(Path(sys.executable).parent / "ray"), "start", *options, *common]
        if hidden:  # a mount namespace of its own, in which an empty file system lies over each of them
            mounts = [f"mount -t tmpfs tmpfs {shlex.quote(str(folder))}" for folder in hidden]
            script = " && ".join([*mounts, 'exec "$@"'])
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        environment = {**self._own, **(own or {})}
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=self._output, stderr=self._output)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HEAD, self._port)) == 0
