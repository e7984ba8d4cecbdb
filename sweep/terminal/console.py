"""The screen, and keeping everything else off it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from sweep.storage.path import StoredPath
from sweep.terminal.log import logging_to
from sweep.terminal.outlet import Outlet, harmless

WIDTH_OF_A_FILE = 160
NOISE_FILE = "ray.log"


class Screen(Console):
    """A console that lets no text through which a terminal would obey. What it draws itself, colours say, stays.

    Square brackets in a text are square brackets. Styles are given by `Text` and by arguments, never by markup.

    Attributes:
        is_in_log: whether what it shows goes to the log (`to_log`).
    """

    is_in_log = False
    log_descriptor: int | None = None
    """The log's, while `quiet` lasts."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (passed on)
        super().__init__(**{"markup": False, "highlight": False, "emoji": False, **options})

    def to_log(self) -> None:
        """Show nothing on the terminal any more. All goes to the log, also after the end of `quiet`."""
        os.dup2(1 if self.log_descriptor is None else self.log_descriptor, self.file.fileno())
        self.is_in_log = True

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 (passed on)
        """Cleaned before it is measured, so that columns keep their width."""
        return super().render_str(harmless(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Cleaned whatever it was made from."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=harmless(segment.text))


def is_in_log(console: Console) -> bool:
    """Whether what the console shows goes to the log, so that the log need not be told besides."""
    return isinstance(console, Screen) and console.is_in_log


def screen(stream: TextIO | None = None) -> Screen:
    """A console on stdout or the given stream.

    Where the output is no terminal it is as wide as `COLUMNS` says, or wide, so that tables do not fold.
    """
    stream = stream or sys.stdout
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) > 0 else WIDTH_OF_A_FILE
    return Screen(file=cast("IO[str]", Outlet(stream)), width=None if stream.isatty() else width)


def own_stream(*, shown: bool) -> TextIO | None:
    """The stream on which a caller in Python sees output, as `quiet` and `screen` take it.

    None: Python's stdout is the one that a shell gave. A notebook's is another. Where nothing is to be shown it is none
    that anybody reads.
    """
    if not shown:
        return io.StringIO()
    try:
        return None if sys.stdout.fileno() == 1 else sys.stdout
    except OSError:  # it has no descriptor
        return sys.stdout


@contextmanager
def quiet(log_file: StoredPath, stream: TextIO | None = None) -> Iterator[Console]:
    """Yield a console on the real screen, or on the given stream, such as a notebook's.

    What our own loggers say goes to the log, with its time. All else that this process and its children print goes to
    `ray.log` beside it: at the level of file descriptors, because Ray's C++ core and its daemons write there.
    """
    for one in (sys.stdout, sys.stderr):
        one.flush()
    growing, growing_noise = log_file.growing(), (log_file.parent / NOISE_FILE).growing()
    before = os.dup(1), os.dup(2)
    shown: Screen | None = None
    log, noise = _appending(growing.file), _appending(growing_noise.file)
    try:
        os.dup2(noise, 1)
        os.dup2(noise, 2)
        with (
            growing,
            growing_noise,
            logging_to(log),
            _line_by_line(before[0], sys.stdout.encoding) as real,
            _line_by_line(noise, "utf-8") as quieter,
        ):
            shown = screen(stream or real)
            shown.log_descriptor = log
            with ExitStack() as stack:
                if stream is not None:  # Python's own stdout is no descriptor then, and Tune prints to it
                    stack.enter_context(redirect_stdout(quieter))
                    stack.enter_context(redirect_stderr(quieter))
                yield shown
    finally:
        _drain()
        after = (log, log) if shown is not None and shown.is_in_log else before
        os.dup2(after[0], 1)
        os.dup2(after[1], 2)
        for descriptor in (*before, log, noise):
            os.close(descriptor)


def _appending(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


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
