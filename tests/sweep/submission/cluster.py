"""A cluster that runs jobs as processes of this machine, when they are looked at. It has the methods of `JobServer`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweep.errors import ClusterError
from sweep.execution.ray.jobs import Job, JobState
from sweep.vlm.pool.nodes import Node


def node(cpus: float, gpus: float = 0, **labels: str) -> Node:
    return Node("id", "10.0.0.1", "worker", {"CPU": cpus, "GPU": gpus}, labels)


@dataclass
class Cluster:
    """`folder` holds what jobs unpack and say. `breaks`: how many streams of a log end in the middle."""

    folder: Path
    url: str = "http://127.0.0.1:8265"
    version: str = "2.60.0"
    has: list[Node] = field(default_factory=lambda: [node(2)])
    breaks: int = 0
    known: dict[str, Job] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ray_version(self) -> str:
        return self.version

    def nodes(self) -> list[Node]:
        return self.has

    def jobs(self) -> list[Job]:
        return [self.job(name) for name in reversed(self.known)]

    def job(self, name: str) -> Job:
        if name not in self.known:
            raise ClusterError(f"{self.url}: Job {name} does not exist")
        job = self.known[name]
        if not job.state.is_over and (code := self.processes[name].poll()) is not None:
            stopped = code == -signal.SIGTERM
            state = JobState.STOPPED if stopped else JobState.FAILED if code else JobState.SUCCEEDED
            self.known[name] = job = replace(job, state=state, exit_code=None if stopped else code, ended=time.time())
        return job

    def submit(self, name: str, entry_point: str, runtime: Mapping[str, Any], labels: Mapping[str, str]) -> None:
        place = self.folder / name
        place.mkdir()
        if "working_dir" in runtime:
            zipfile.ZipFile(runtime["working_dir"]).extractall(place)
        # As on a cluster, nothing of the folder that it was handed in from counts.
        own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment = {**own, "PATH": f"{Path(sys.executable).parent}:{own['PATH']}", **runtime["env_vars"]}
        with self._log(name).open("wb") as log:
            log.write(f"Running entrypoint for job {name}: {entry_point}\n".encode())
            log.flush()
            self.processes[name] = subprocess.Popen(
                entry_point, shell=True, cwd=place, stdout=log, stderr=log, env=environment
            )
        self.known[name] = Job(name, JobState.RUNNING, labels, entry_point, "", time.time(), None, None, runtime)

    def stop(self, name: str) -> None:
        self.processes[name].terminate()

    def forget(self, name: str) -> None:
        del self.known[name]

    def log(self, name: str) -> str:
        return self._log(name).read_text()

    def follow(self, name: str) -> Iterator[str]:
        while self.breaks and "called" not in self.log(name).partition("\n")[2]:
            time.sleep(0.05)
        if not self.breaks:
            self.processes[name].wait()
        text = self.log(name)
        half = len(text) // 2
        yield text[:half]
        if self.breaks:
            self.breaks -= 1
            raise ClusterError("the stream broke")
        yield text[half:]

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"
