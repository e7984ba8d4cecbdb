"""Where text leaves the program: characters that a terminal would obey are made visible, and a reader may go away.

What a stranger wrote (the reason of a failure, a name, a question, an answer) may hold commands to the terminal: to
write into the clipboard, to change the title, to hide text, or to turn its direction around. None of these leave here.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import TextIO

READER_GONE = {errno.EPIPE, errno.EIO}
"""`| head` has read enough, or the terminal was closed."""
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"  # direction, line separators, annotations
    "\ud800-\udfff\U000e0000-\U000e007f]"  # halves of a pair, invisible tags
)
_PICTURES = 0x2400
_DELETE = 0x7F


def harmless(text: str) -> str:
    """The text with everything that a terminal obeys shown as a sign: escape as U+241B, others as U+FFFD.

    Tabs and line feeds stay. A text that holds nothing of the kind is returned as it is.
    """
    return _OBEYED.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < ord(" "):
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else "\ufffd"


def open_streams() -> None:
    """Make stdin, stdout and stderr usable whatever the caller closed, and have them replace what they cannot encode.

    A closed descriptor would be given to the next file that is opened, and what is printed would go into that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", closefd=False))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


class Outlet:
    """A text stream for writing that goes on in silence once nobody reads it. The work and its exit code go on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        """Of the stream; rich draws boxes in ASCII where it is not UTF-8."""
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write the text as it is; whoever calls has made it harmless."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._forget(error)
            return len(text)

    def flush(self) -> None:
        """Hand over what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._forget(error)

    def _forget(self, error: OSError) -> None:
        """From now on into nothing, also what Python flushes as it ends."""
        if error.errno not in READER_GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def write(text: str) -> None:
    """Write to stdout, made harmless: for texts that are the result, such as a JSON document or a prompt."""
    _write(sys.stdout, text)


def write_error(text: str) -> None:
    """Write to stderr, made harmless."""
    _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    outlet = Outlet(stream)
    outlet.write(harmless(text))
    outlet.flush()
