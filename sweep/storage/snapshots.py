"""The study of a run that is kept elsewhere: a SQLite file in scratch, stored whole after every change."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sweep.errors import RunError
from sweep.storage.growing import GrowingFile
from sweep.storage.lease import Lease


class StudySnapshots:
    """Stores the study's file whenever it has changed; call it after each change.

    Invariant: nothing that a reader of the remote study does not see has been acted on. A driver that lost its lease
    stores nothing any more.

    The file is stored whole: with fifty epochs per trial 0.2 MB for 24 trials, 0.4 MB for 100, 3.6 MB for 1000. Larger
    studies belong into a database server (`storage` of the space).
    """

    def __init__(self, file: GrowingFile, lease: Lease) -> None:
        self._file = file
        self._lease = lease
        self._connection: sqlite3.Connection | None = None
        self._version = -1

    def __call__(self) -> None:
        """Store what is new.

        Raises:
            RunError: another driver has taken the run over, or this one could not reach the storage for long.
            OSError: the storage fails.
        """
        if self._connection is None:
            self._connection = sqlite3.connect(self._file.file)
        version = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        if version == self._version:
            return
        if self._lease.lost:
            raise RunError(
                "this driver lost its hold on the run: its storage could not be reached for long, or another driver "
                "has taken over"
            )
        self._file.upload(_content(self._file.file))
        self._version = version

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _content(file: Path) -> bytes:
    """The database as one file, with what its write-ahead log holds."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.serialize()
