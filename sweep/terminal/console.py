"""The screen, and keeping everything else off it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from sweep.storage.path import StoredPath
from sweep.terminal.outlet import Outlet, harmless

WIDTH_OF_A_FILE = 160


class Screen(Console):
    """A console that lets no text through which a terminal would obey. What it draws itself, colours say, stays.

    Attributes:
        is_in_log: whether what it shows goes to the log (`to_log`).
    """

    is_in_log = False

    def to_log(self) -> None:
        """Show nothing on the terminal any more. All goes to the log, also after the end of `quiet`."""
        os.dup2(1, self.file.fileno())
        self.is_in_log = True

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 (passed on)
        """Cleaned before it is measured, so that columns keep their width."""
        return super().render_str(harmless(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Cleaned whatever it was made from."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def screen(stream: TextIO | None = None) -> Screen:
    """A console on stdout or the given stream.

    Where the output is no terminal it is as wide as `COLUMNS` says, or wide, so that tables do not fold.
    """
    stream = stream or sys.stdout
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else WIDTH_OF_A_FILE
    return Screen(file=cast("IO[str]", Outlet(stream)), width=None if stream.isatty() else width)


@contextmanager
def quiet(log_file: StoredPath) -> Iterator[Console]:
    """Send everything that this process and its children print to the log; yield a console on the real screen.

    At the level of file descriptors, because Ray's C++ core and its daemons write there.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    growing = log_file.growing()
    before = os.dup(1), os.dup(2)
    shown: Screen | None = None
    log = os.open(growing.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        with growing, _line_by_line(before[0], sys.stdout.encoding) as stream:
            shown = screen(stream)
            yield shown
    finally:
        _drain()
        if shown is None or not shown.is_in_log:
            os.dup2(before[0], 1)
            os.dup2(before[1], 2)
        for descriptor in (*before, log):
            os.close(descriptor)


def _line_by_line(descriptor: int, encoding: str | None) -> TextIO:
    """A copy of a descriptor as a text stream that writes every line at once."""
    return os.fdopen(os.dup(descriptor), "w", encoding=encoding or "utf-8", errors="replace", buffering=1)


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
