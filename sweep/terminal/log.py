"""What our own loggers say, in a file, with the time in UTC."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sweep.terminal.outlet import harmless

LOGGERS = ("sweep", "selector")


class _Lines(logging.Handler):
    """Writes each record at once. A full disk costs the line and nothing else."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.formatter.converter = time.gmtime

    def emit(self, record: logging.LogRecord) -> None:
        """Append the record, made harmless for who reads it on a terminal."""
        with suppress(OSError):  # `handleError` would put a traceback on the screen
            os.write(self._descriptor, f"{harmless(self.format(record))}\n".encode(errors="backslashreplace"))


@contextmanager
def logging_to(descriptor: int) -> Iterator[None]:
    """While this lasts, our loggers write to the descriptor, from the level of information on."""
    handler = _Lines(descriptor)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
