"""A small Slurm for one machine: what `sbatch` gives a script, and stand-ins for the programs that it calls.

`srun` runs its command here, whatever node it is for. Signals to the script are sent as Slurm sends them with
`--signal=B:`, to the script alone.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

from tests.docker.images import DOCKER

SCRIPT = DOCKER / "slurm" / "sweep.sh"
JOB = 4711
RECORD = "printf '%s\\037' \"${0##*/}\" \"$@\" >>'{calls}'; printf '\\036' >>'{calls}'\n"
SRUN = """\
echo $$ >>"$HOME/steps"
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""
SCONTROL = """\
case "$1 $2" in "show hostnames") printf '%s\\n' $MACHINES ;; esac
"""

SCANCEL = 'kill -TERM $(cat "$HOME/steps") 2>/dev/null || :\n'


class Job:
    """One job: its script, its environment and what the programs in it were called with.

    Args:
        folder: private to the job. Its home, its programs and its working folder.
        machines: their names.
        number: of the job, from which the script takes its ports.
    """

    def __init__(self, folder: Path, machines: str, number: int = JOB) -> None:
        self.folder = folder
        self.calls_file = folder / "calls"
        self.log = folder / "log"
        self.programs = folder / "bin"
        self.home = folder / "home"
        for made in (self.programs, self.home):
            made.mkdir()
        self.program("srun", SRUN)
        self.program("scontrol", SCONTROL)
        self.program("scancel", SCANCEL)
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.home),
            "SLURM_JOB_ID": str(number),
            "SLURM_JOB_NODELIST": "machine[1-3]",
            "SLURM_CPUS_PER_TASK": "1",
            "MACHINES": machines,
        }

    def program(self, name: str, body: str) -> None:
        """A program of the job's PATH, which writes down how it is called."""
        file = self.programs / name
        file.write_text(f"#!/bin/bash\n{RECORD.replace('{calls}', str(self.calls_file))}{body}", encoding="utf-8")
        file.chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run the script as `sbatch` would. Its output is added to the log, as `--open-mode=append` has it."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(SCRIPT), *arguments],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def run(self, *arguments: str, timeout: float = 60) -> int:
        """The script's exit code. None of its processes is left when it ends."""
        return self.ended(self.start(*arguments), timeout)

    def ended(self, process: subprocess.Popen[bytes], timeout: float = 60) -> int:
        """Wait for the script; kill all that is left of it if it takes too long."""
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(self.log.read_text(encoding="utf-8")) from None

    def calls(self) -> list[list[str]]:
        """Programs that were called, with their arguments."""
        if not self.calls_file.exists():
            return []
        return [call.split("\037")[:-1] for call in self.calls_file.read_text("utf-8").split("\036")[:-1]]

    def await_call(self, *words: str, timeout: float = 60) -> None:
        """Wait until a program was called with these words among its own."""
        deadline = time.monotonic() + timeout
        while not any(set(words) <= set(call) for call in self.calls()):
            assert time.monotonic() < deadline, (words, self.log.read_text("utf-8"))
            time.sleep(0.02)


def directives() -> dict[str, str]:
    """Options in the script's #SBATCH lines, before its first command."""
    found = {}
    for line in SCRIPT.read_text("utf-8").splitlines():
        if line.startswith("#SBATCH "):
            for word in shlex.split(line.removeprefix("#SBATCH ")):
                name, _, value = word.partition("=")
                found[name] = value
        elif line and not line.startswith("#"):
            break
    return found
