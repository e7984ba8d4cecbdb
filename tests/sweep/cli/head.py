"""A head of Ray on this machine, as an operator starts one: with a dashboard, a token, and a home of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from sweep.execution.ray.cleaner import end_processes, processes_in
from sweep.execution.ray.options import LOOPBACK_ONLY
from tests.chaos.cluster import free_port
from tests.sweep.commands import wait_for

STARTS = 3
OWN_PARTS = (b"gcs_server", b"/raylet", b"dashboard.py")


class Head:
    """Jobs find the interpreter of these tests, and nothing of the folder that tests run in."""

    def __init__(self) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="swj-"))  # short: Ray makes sockets below it
        self.ray_folder = folder / "r"
        self.home = folder / "home"
        (self.home / ".ray").mkdir(parents=True)
        self.token = secrets.token_hex(32)
        token_file = self.home / ".ray/auth_token"
        token_file.write_text(self.token)
        token_file.chmod(0o600)
        self.port, self.dashboard_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.dashboard_port}"
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHONPATH", "RAY_", "AWS_"))
        }
        self.environment = {
            **inherited,
            **LOOPBACK_ONLY,
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{inherited['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start(self) -> None:
        """Until its node is there. Ray may give up on a busy machine."""
        line = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--node-ip-address=127.0.0.1"]
        line += [f"--port={self.port}", f"--dashboard-port={self.dashboard_port}", "--dashboard-host=127.0.0.1"]
        line += ["--num-cpus=2", f"--temp-dir={self.ray_folder}", "--object-store-memory=100000000"]
        line += [
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
            "--disable-usage-stats",
        ]
        for _ in range(STARTS):
            started = subprocess.run(line, env=self.environment, capture_output=True, text=True, timeout=150)
            if started.returncode == 0:
                return
            self.stop()
        raise AssertionError(started.stdout + started.stderr)

    def kill(self) -> None:
        """SIGKILL for the head's own processes. What depends on them has to notice by itself."""
        for number in self._own():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        wait_for(lambda: not self._own(), 30)

    def stop(self) -> None:
        """All of it, with every job."""
        end_processes(str(self.ray_folder))
        shutil.rmtree(self.ray_folder, ignore_errors=True)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _own(self) -> list[int]:
        found = []
        for number in processes_in(str(self.ray_folder)):
            try:
                words = Path(f"/proc/{number}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            if any(part in words for part in OWN_PARTS):
                found.append(number)
        return found
