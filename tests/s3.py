"""An S3 server (moto) in a process of its own, for the tests of everything that can be kept elsewhere."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Self

BUCKET = "sweeps"
START_SECONDS = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class S3Server:
    """One bucket on a port of this machine. Use as a context manager, or with `start` and `stop`.

    Moto keeps everything in memory: after `stop` and `start` the bucket is there, but empty. `freeze` and `thaw` keep
    the data: requests hang in between.

    Attributes:
        uri: of the bucket. Tests share it, so each works in a `folder` of its own.
        environment: what a process needs to reach the server; this one has it already.
    """

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.uri = f"s3://{BUCKET}"
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._log = log
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    def folder(self, name: str = "test") -> str:
        """The URI of a folder that nobody has used."""
        return f"{self.uri}/{name}-{next(self._numbers)}"

    def address(self, name: str) -> str:
        """The same with all that it takes to reach it, where the environment says nothing."""
        endpoint = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"{self.folder(name).replace('://', '://testing:testing@')}?{endpoint}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start with an empty bucket."""
        assert self._process is None
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers("GET", "/moto-api/"):
            told = self._log.read_text(errors="replace")[-2000:]
            assert self._process.poll() is None and time.monotonic() < deadline, f"moto's server is not there: {told}"
            time.sleep(0.1)
        assert self._answers("PUT", f"/{BUCKET}"), "no bucket"

    def stop(self) -> None:
        """End it, with all data. Requests are refused until `start`."""
        if self._process is not None:
            self._process.kill()  # also if it is frozen
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Connections are taken, and nothing is answered until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on, with all data."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self, method: str, path: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request(method, path)
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()
