"""`--detach`: a command goes on in a process without a terminal, and returns as soon as that process is at work.

The same command line is started again in a session of its own, told by an environment variable where to report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NoReturn

import typer

from sweep.terminal.console import Screen
from sweep.terminal.outlet import write, write_error

if TYPE_CHECKING:
    from sweep.driver.session import Session

REPORT_TO = "SWEEP_DETACHED_REPORT"
"""Environment variable of the process without a terminal: the descriptor of a pipe to who started it."""


class Detached:
    """What a process without a terminal does for who started it. In every other process it does nothing."""

    def __init__(self) -> None:
        report = os.environ.pop(REPORT_TO, "")  # not for its own children
        self._pipe = int(report) if report.isdecimal() else None
        if self._pipe is not None:
            os.set_inheritable(self._pipe, False)

    @property
    def is_detached(self) -> bool:
        """Whether this is such a process."""
        return self._pipe is not None

    def started(self, session: Session) -> None:
        """The run is at work: from now on its log has everything, and who started it may go."""
        if self._pipe is None:
            return
        if isinstance(session.console, Screen):
            session.console.to_log()
        paths = session.paths
        report = {"run": paths.name, "folder": paths.shown, "log": paths.log_file.shown, "pid": os.getpid()}
        pipe, self._pipe = self._pipe, None
        with suppress(BrokenPipeError), os.fdopen(pipe, "w") as stream:  # who started it may have gone already
            json.dump(report, stream)


def start_detached() -> NoReturn:
    """Start this command line again without a terminal, wait until it is at work, and end with what to do next.

    If it ends before, its last words and its exit code are this command's.
    """
    reading, writing = os.pipe()
    write_error("starting without a terminal ...\n")
    with TemporaryFile() as said:
        child = subprocess.Popen(  # noqa: S603 (the command line that this process was started with)
            [sys.executable, *sys.orig_argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            pass_fds=[writing],
            start_new_session=True,
            env={**os.environ, REPORT_TO: str(writing)},
        )
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as pipe:
                report = pipe.read()  # until it reports, or has ended
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise typer.Exit(130) from None
        code = 0 if report else child.wait()
        said.seek(0)
        (write if report else write_error)(said.read().decode(errors="replace"))
    if report:
        write(_next_steps(json.loads(report)))
    raise typer.Exit(code if code >= 0 else 128 - code)


def _next_steps(report: dict[str, str]) -> str:
    folder = report["folder"]
    return (
        f"run {report['run']} goes on without this terminal (process {report['pid']})\n"
        f"watch  python -m sweep status {folder}\n"
        f"stop   python -m sweep stop {folder}\n"
        f"log    {report['log']}\n"
    )
