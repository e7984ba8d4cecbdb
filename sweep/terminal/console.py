"""The screen, and keeping everything else off it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

from sweep.storage.path import StoredPath

WIDTH_OF_A_FILE = 160


def screen(stream: TextIO | None = None) -> Console:
    """A console on stdout or the given stream; wide where the output is not a terminal, so that tables do not fold."""
    stream = stream or sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH_OF_A_FILE)


@contextmanager
def quiet(log_file: StoredPath) -> Iterator[Console]:
    """Send everything that this process and its children print to the log; yield a console on the real screen.

    At the level of file descriptors, because Ray's C++ core and its daemons write there.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    growing = log_file.growing()
    before = os.dup(1), os.dup(2)
    log = os.open(growing.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        with growing, os.fdopen(os.dup(before[0]), "w", encoding="utf-8", buffering=1) as stream:
            yield screen(stream)
    finally:
        _drain()
        os.dup2(before[0], 1)
        os.dup2(before[1], 2)
        for descriptor in (*before, log):
            os.close(descriptor)


def _drain() -> None:
    """Write out what is buffered for the log; where the log's disk is full, drop it, or it would come on the screen."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()
