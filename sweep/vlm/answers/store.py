"""All answers ever given, beside the runs, shared by every driver that works there.

The store is a folder of immutable Parquet parts. Invariants: a part that stands under its name is complete and synced;
a row that was once in a part is at any later moment in at least one part. Rows stored twice (two drivers asked the same
question at the same time, a compaction was killed at its end) are harmless: an answer wins over a failure, the earlier
over the later.

A part that cannot be read (disk trouble, a foreign file of that name) is left alone, named in `skipped` and in a
warning of the log: its answers are asked again, which costs time but no truth.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import Timeout

from selector.parquet import ParquetError
from sweep.storage.path import StoredPath
from sweep.vlm.answers.parquet import (
    ROWS_PER_GROUP,
    SCHEMA,
    ForeignPartError,
    Wanted,
    part_writer,
    result_for,
    row_groups,
    rows_with_keys,
)
from sweep.vlm.work import Answer, Result, WorkItem

logger = logging.getLogger(__name__)

PREFIX, SUFFIX = "part-", ".parquet"
UNFINISHED = f".{PREFIX}"
MANY_PARTS = 64
SMALL_BYTES = 16 * 1024**2
ABANDONED_SECONDS = 24 * 3600.0
# ValueError and OverflowError: damaged names and times.
UNREADABLE = (pa.ArrowException, ParquetError, ForeignPartError, OSError, ValueError, OverflowError)


class AnswerStore:
    """Answers by key. Safe to use from several processes at once; one object belongs to one process.

    Attributes:
        folder: of the parts; made by the first writer.
        skipped: parts that could not be read, with the reason.
    """

    def __init__(self, folder: StoredPath) -> None:
        self.folder = folder
        self.skipped: dict[StoredPath, str] = {}

    def lookup(self, wanted: Mapping[WorkItem, Wanted]) -> dict[WorkItem, Result]:
        """Results that are stored, for those of the work items that have one.

        Failures are among them only where asking again would fail again (`FailureKind.lasting`). Memory is that of
        the requests and results; the store may be of any size.
        """
        asking: dict[str, list[WorkItem]] = {}
        for item, one in wanted.items():
            asking.setdefault(one.key, []).append(item)
        best: dict[WorkItem, tuple[tuple[bool, int], Result]] = {}
        for row in self._rows_with(list(asking)):
            for item in asking[row["key"]]:
                result = result_for(row, wanted[item])
                if result is None:
                    continue
                rank = (not isinstance(result, Answer), row["time"])
                if item not in best or rank < best[item][0]:
                    best[item] = (rank, result)
        return {item: result for item, (_, result) in best.items()}

    def _rows_with(self, keys: list[str]) -> Iterator[dict[str, Any]]:
        """A compaction at the same time may take parts away; their rows then stand in one that a new listing shows."""
        if not keys:
            return
        values = pa.array(keys, pa.string())
        scanned: set[StoredPath] = set()
        while fresh := [part for part in self.parts() if part not in scanned]:
            for part in fresh:
                scanned.add(part)
                try:
                    yield from rows_with_keys(part.local(), values)
                except FileNotFoundError:
                    continue
                except UNREADABLE as error:
                    self._skip(part, error)

    def parts(self) -> list[StoredPath]:
        """All parts, the oldest first."""
        return self.folder.glob(f"{PREFIX}*{SUFFIX}")

    def compact(self, many: int = MANY_PARTS) -> bool:
        """Merge the small parts into one if there are more than `many`. Returns whether that was done.

        The old parts are removed after the new one stands. Does nothing while another process compacts, nor where the
        disk has no room for it: compaction makes the next look-up faster, no more.
        """
        if len(self.parts()) <= many:
            return False
        try:
            with (self.folder / ".compaction.lock").lock().acquire(timeout=0):
                self._remove_abandoned()
                small = self._small_parts()
                if len(small) <= many:
                    return False
                self._merge(small)
                return True
        except Timeout:
            return False
        except OSError as error:
            logger.warning("could not compact %s: %s", self.folder, error)
            return False

    def _small_parts(self) -> list[StoredPath]:
        """The oldest ones that make up about one large part, or a few."""
        small, size = [], 0
        for part in self.parts():
            own = part.local().stat().st_size
            if part not in self.skipped and own < SMALL_BYTES and size < 4 * SMALL_BYTES:
                small.append(part)
                size += own
        return small

    def _merge(self, parts: list[StoredPath]) -> None:
        merged = []
        with self.new_part() as file, part_writer(file) as writer:
            seen: set[bytes] = set()
            waiting: list[pa.Table] = []
            for part in parts:
                try:
                    for table in row_groups(part.local()):
                        waiting.append(_without_copies(table, seen))
                        if sum(map(len, waiting)) >= ROWS_PER_GROUP:
                            writer.write_table(pa.concat_tables(waiting), ROWS_PER_GROUP)
                            waiting = []
                except UNREADABLE as error:
                    self._skip(part, error)
                else:
                    merged.append(part)
            writer.write_table(pa.concat_tables([*waiting, SCHEMA.empty_table()]), ROWS_PER_GROUP)
        for part in merged:
            part.remove()

    @contextmanager
    def new_part(self) -> Iterator[Path]:
        """Yield a temporary file that becomes a part, synced to disk, when the block ends without an error."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"  # two machines may share the folder
        with (self.folder / f"{PREFIX}{name}{SUFFIX}").replacing() as file:
            yield file

    def _remove_abandoned(self) -> None:
        """Temporary files of processes that were killed long before the newest part was written.

        Both times are the storage's. This machine's clock may differ from it, and from those of other machines.
        """
        newest = self.folder.newest(f"{PREFIX}*{SUFFIX}")
        now = None if newest is None else newest.modified
        for file in self.folder.glob(f"{UNFINISHED}*"):
            written = file.modified
            if now is not None and written is not None and now - written > ABANDONED_SECONDS:
                file.remove()

    def _skip(self, part: StoredPath, error: Exception) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if part not in self.skipped:
            logger.warning("skipped %s, whose answers will be asked again: %s", part, reason)
        self.skipped[part] = reason


def _without_copies(table: pa.Table, seen: set[bytes]) -> pa.Table:
    """Without the rows that are in `seen`, which a compaction that was killed at its end leaves behind twice.

    Rows of equal key and different time stay: which one counts must not change by compaction.
    """
    columns = [table.column(name).to_pylist() for name in ("key", "targets", "failure_kind", "time")]
    keep = []
    for row in zip(*columns, strict=True):
        digest = hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
        keep.append(digest not in seen)
        seen.add(digest)
    return table.filter(pa.array(keep, pa.bool_()))
