"""Files that others read while they are written: the log, TensorBoard's events, the study's database."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

logger = logging.getLogger(__name__)

SECONDS = 30.0


class Uploads(Protocol):
    """Stores files elsewhere, by key. Raises OSError with EIO if the storage fails."""

    def put(self, source: Path, key: str) -> None:
        """Store a file; readers see the old one or the new one."""

    def write(self, key: str, content: bytes) -> None:
        """`put` from memory."""


class GrowingFile:
    """A file of this machine. Where the run is kept elsewhere, `upload` stores it as it is now.

    As a context manager it uploads every so often, and once more at the end. A failure is then noted in the log and no
    more.

    Attributes:
        file: to be written to. Its folder is there.
    """

    def __init__(self, file: Path, files: Uploads | None = None, key: str = "", seconds: float = SECONDS) -> None:
        """Without `files` there is nothing to upload."""
        self.file = file
        self._files = files
        self._key = key
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def upload(self, content: bytes | None = None) -> None:
        """Store the file elsewhere, or this content in its place. Raises OSError with EIO if the storage fails."""
        if self._files is None:
            return
        if content is None:
            self._files.put(self.file, self._key)
        else:
            self._files.write(self._key, content)

    def __enter__(self) -> Self:
        if self._files is not None:
            self._thread = threading.Thread(target=self._upload_now_and_then, name="uploading", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _upload_now_and_then(self) -> None:
        last = False
        while not last:
            last = self._ended.wait(self._seconds)
            try:
                self.upload()
            except OSError as error:
                logger.warning("%s", error)
