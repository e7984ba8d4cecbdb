"""Results on their way into the store: buffered for seconds, then in a part of their own."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType

from sweep.errors import RunError
from sweep.vlm.answers.parquet import AnswerRow, Wanted, part_writer, to_table
from sweep.vlm.answers.store import MANY_PARTS, AnswerStore
from sweep.vlm.work import Failure, Result, WorkItem

logger = logging.getLogger(__name__)

ROWS = 512
SECONDS = 5.0


class StoreError(RunError):
    """Answers cannot be stored."""


class AnswerWriter:
    """Appends results to a store. Use as a context manager.

    Invariant: a result is in a part at most `seconds` after it was added, even if nothing follows it. A killed process
    loses the results of that time and no others.
    """

    def __init__(self, store: AnswerStore, model: str, rows: int = ROWS, seconds: float = SECONDS) -> None:
        """Store results of `model` (a name for people). A part is written at `rows` results or after `seconds`."""
        self._store = store
        self._model = model
        self._rows, self._seconds = rows, seconds
        self._buffer: list[AnswerRow] = []
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._failed: OSError | None = None
        self._latest = 0
        self._flushes = 0

    def __enter__(self) -> AnswerWriter:
        try:
            self._store.folder.make_folder()
        except OSError as error:
            raise self._error(error) from error
        self._store.compact()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever happened, what was answered is stored."""
        self.flush()

    def add(self, item: WorkItem, wanted: Wanted, result: Result) -> None:
        """Store a result. A failure that need not repeat itself is left out.

        Raises:
            StoreError: the disk is full, or the folder cannot be written to.
        """
        if isinstance(result, Failure) and not result.kind.lasting:
            return
        with self._lock:
            self._latest = max(self._latest + 1, time.time_ns() // 1000)
            self._buffer.append(AnswerRow(wanted, item, result, self._model, self._latest))
            if len(self._buffer) >= self._rows or self._failed:
                self.flush()
            elif self._timer is None:
                self._timer = threading.Timer(self._seconds, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            StoreError: as `add`.
        """
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            try:
                self._write()
            except OSError as error:
                raise self._error(error) from error

    def _flush_late(self) -> None:
        """In the timer's thread, which has nobody to raise to: the next `add` or the end tries again, and raises."""
        with self._lock:
            self._timer = None
            try:
                self._write()
            except OSError as error:
                self._failed = error
                logger.warning("%s", self._error(error))

    def _write(self) -> None:
        if not self._buffer:
            return
        with self._store.new_part() as file, part_writer(file) as part:
            part.write_table(to_table(self._buffer))
        self._buffer, self._failed = [], None
        self._flushes += 1
        if self._flushes % MANY_PARTS == 0:
            self._store.compact()

    def _error(self, error: OSError) -> StoreError:
        return StoreError(f"cannot store answers in {self._store.folder}: {error.strerror or error}")
