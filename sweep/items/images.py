"""Where images are kept: as files, or as rows of a Parquet table. Both travel to other processes without their bytes.

What a table says of places holds on every machine that reads it: the paths must exist there as well. After a journey
the caches are empty and files are opened again on first use. All methods may be called from several threads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from selector.arrays import Int64Array
from selector.data.place import file_label
from selector.errors import first_line
from selector.files import lfs_problem
from selector.hashes import content_hash
from selector.parquet import ParquetError, ParquetReader, RowGroup
from sweep.items.errors import ImageError

MAX_IMAGE_BYTES = 256 * 2**20
MAX_GROUP_BYTES = 2**30
CACHED_BYTES = 256 * 2**20
IMAGE_COLUMN = "image_bytes"
FileKey = tuple[Path, int, int]


class Images(Protocol):
    """The images of an item table, by item."""

    def label(self, item: int) -> str:
        """Where the image is, for messages."""

    def read(self, item: int) -> bytes:
        """The encoded image. `ImageError` if it cannot be had."""

    def hash(self, item: int) -> str:
        """SHA-256 of the encoded image, 64 hex digits. `ImageError` as `read`."""

    def missing(self) -> int:
        """Items without an image."""


class ImageFiles:
    """Images as files, possibly shared by items.

    Args:
        paths: binary [N], absolute paths as the file system has them. Null where no file was found.
        image_ids: int64 [N].
        absent: where images without a file were looked for, and why they have none.
    """

    def __init__(self, paths: pa.BinaryArray, image_ids: pa.Int64Array, absent: tuple[str, str]) -> None:
        self._paths = paths
        self._image_ids = image_ids
        self._absent = absent
        self._hashes: dict[FileKey, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_hashes": {}}

    def label(self, item: int) -> str:
        """The path, or for an image without a file its id and where it was looked for."""
        path = self._path(item)
        return f"image {self._image_ids[item]} in {self._absent[0]}" if path is None else file_label(path)

    def read(self, item: int) -> bytes:
        """The file's bytes.

        Raises:
            ImageError: no file, not a regular one, empty, unreadable, or above 256 MiB.
        """
        return self._read(item)[0]

    def hash(self, item: int) -> str:
        """SHA-256 of the bytes. Read once per (path, size, time of change). Raises as `read`."""
        path = self._path(item)
        try:
            status = None if path is None else path.stat()
        except (OSError, ValueError):
            status = None  # the reading below says what is wrong
        if path is not None and status is not None and (known := self._hashes.get(_key(path, status))):
            return known
        content, key = self._read(item)
        self._hashes[key] = found = content_hash([content])
        return found

    def missing(self) -> int:
        """Items whose file was not found, or is gone. Lists each folder once."""
        folders: dict[bytes, set[bytes]] = {}
        gone = 0
        for path in self._paths.to_pylist():
            folder, name = os.path.split(path or b"")
            if folder not in folders:
                folders[folder] = _names(folder)
            gone += name not in folders[folder]
        return gone

    def _path(self, item: int) -> Path | None:
        path = self._paths[item].as_py()
        return None if path is None else Path(os.fsdecode(path))

    def _read(self, item: int) -> tuple[bytes, FileKey]:
        path = self._path(item)
        if path is None:
            raise ImageError(self.label(item), self._absent[1])
        try:
            status = path.stat()
            reason = _unfit(status)  # asked before opening: a pipe would wait for its writer
            content = b"" if reason else path.read_bytes()
        except FileNotFoundError:
            raise ImageError(self.label(item), "no such file") from None
        except (OSError, ValueError) as error:
            raise ImageError(self.label(item), _unreadable(error)) from None
        if reason or not content:
            raise ImageError(self.label(item), reason or "the file is empty")
        if problem := lfs_problem(content):
            raise ImageError(self.label(item), problem)
        return content, _key(path, status)


class ImageRows:
    """Images as a column of a Parquet file. Row groups are read on demand. The latest stay, up to 256 MiB.

    Args:
        file: absolute path of the Parquet file.
        starts: int64 [G + 1], first row of each of its G row groups, and the number of rows.
        missing: rows without an image, as far as the file's statistics say.
    """

    def __init__(self, file: Path, starts: Int64Array, missing: int = 0) -> None:
        self._file = file
        self._starts = starts
        self._missing = missing
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"_file": self._file, "_starts": self._starts, "_missing": self._missing}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = Lock()
        self._reader: ParquetReader | None = None
        self._groups: OrderedDict[int, pa.BinaryArray] = OrderedDict()
        self._hashes: dict[int, str] = {}

    def label(self, item: int) -> str:
        """The Parquet file and the row."""
        return f"{file_label(self._file)} row {item}"

    def read(self, item: int) -> bytes:
        """The row's bytes.

        Raises:
            ImageError: no image in the row, or the file is gone, damaged or another one.
        """
        group = int(np.searchsorted(self._starts, item, side="right")) - 1
        try:
            with self._lock:
                content: bytes | None = self._group(group)[item - int(self._starts[group])].as_py()
        except (ParquetError, pa.ArrowException, OSError, ValueError, IndexError) as error:
            raise ImageError(self.label(item), _unreadable(error)) from None
        if not content:
            raise ImageError(self.label(item), "the row holds no image" if content is None else "the image is empty")
        if problem := lfs_problem(content):
            raise ImageError(self.label(item), problem)
        return content

    def hash(self, item: int) -> str:
        """SHA-256 of the bytes, computed once per row of the opened file. Raises as `read`."""
        if item not in self._hashes:
            self._hashes[item] = content_hash([self.read(item)])
        return self._hashes[item]

    def missing(self) -> int:
        """Rows that hold no image."""
        return self._missing

    def _group(self, number: int) -> pa.BinaryArray:
        if number in self._groups:
            self._groups.move_to_end(number)
            return self._groups[number]
        reader, self._reader = self._reader or self._open(), None
        column = reader.read([IMAGE_COLUMN], number).column(0)
        self._reader = reader  # only now: after a failure the file is opened afresh
        self._groups[number] = column.combine_chunks()
        while len(self._groups) > 1 and sum(group.nbytes for group in self._groups.values()) > CACHED_BYTES:
            self._groups.popitem(last=False)
        return self._groups[number]

    def _open(self) -> ParquetReader:
        reader = ParquetReader(self._file, most=MAX_GROUP_BYTES)
        if not np.array_equal(group_starts(reader.groups), self._starts):
            raise OSError(errno.ESTALE, "the file has other row groups than when the items were opened")
        return reader


def group_starts(groups: Sequence[RowGroup]) -> Int64Array:
    """First row of each row group, and the number of rows: int64 [G + 1]."""
    return np.concatenate([[0], np.cumsum([group.rows for group in groups])]).astype(np.int64)


def _names(folder: bytes) -> set[bytes]:
    if not folder:
        return set()
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()


def _key(path: Path, status: os.stat_result) -> FileKey:
    return path, status.st_size, status.st_mtime_ns


def _unfit(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "is a folder; expected a file" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
    if status.st_size > MAX_IMAGE_BYTES:
        return f"holds {status.st_size:,} bytes; images above {MAX_IMAGE_BYTES:,} are not read"
    return None


def _unreadable(error: Exception) -> str:
    return f"cannot be read ({getattr(error, 'strerror', None) or first_line(error)[:120]})"
