"""Foreign Parquet files: opened by a helper process, within bounds that follow from the file's size.

A Parquet file of a kilobyte may decode to terabytes, and pyarrow (26.0.1) ends the process over some damaged footers.
Here the file becomes a table, or one error. The price is the helper's start (0.3 s) and a copy through its pipe
(a gigabyte per second or so).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from selector.helper import CallError, LimitError, Limits, shared_helper

SMALL, RATIO = 256 * 2**20, 32
LARGE, LARGE_RATIO = 4 * 2**30, 2
"""Decoded bytes that are let pass: 256 MiB and 32 times the file, up to 4 GiB; above that, twice the file.

Tables of training data decode to 1 to 10 times their file, embeddings and images to its size.
"""
COPIES = 3  # the helper holds what it decodes, the table, and its form for the pipe
STEP = 256 * 2**20
SECONDS, BYTES_PER_SECOND = 20, 64 * 2**20


class ParquetError(Exception):
    """A file that cannot be read as Parquet, or not within its bounds. The message says why, without the file."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What the footer says of a row group. `sizes` are decoded bytes by column, `nulls` are None where it does not."""

    rows: int
    sizes: dict[str, int]
    nulls: dict[str, int | None]


class ParquetReader:
    """One Parquet file, read in the helper process that files of like size share.

    Args:
        file: on disk, or its content.
        most: decoded bytes that are let pass, where that is less than what follows from the file's size.

    Attributes:
        schema: without metadata.
        groups: its row groups.

    Raises:
        ParquetError: it is damaged, or not Parquet.
        OSError: it is not there.
    """

    def __init__(self, file: Path | bytes, most: int = sys.maxsize) -> None:
        self._path = None if isinstance(file, bytes) else str(file.absolute())
        self._content = file if isinstance(file, bytes) else b""
        size = len(file) if isinstance(file, bytes) else file.stat().st_size
        self.most = min(most, max(min(SMALL + RATIO * size, LARGE), LARGE_RATIO * size))
        steps = -(-COPIES * self.most // STEP)  # rounded up, so that files of like size share a helper
        limits = Limits(SECONDS + steps * STEP // BYTES_PER_SECOND, steps * STEP // 2**20)
        self._helper = shared_helper("selector.parquet_helper", limits)
        groups, schema = self._call("describe")
        self.schema: pa.Schema = pa.ipc.read_schema(pa.py_buffer(schema))
        self.groups = [_row_group(rows, columns) for rows, columns in groups]

    def read(self, columns: Sequence[str] | None = None, group: int | None = None) -> pa.Table:
        """Some or all columns of one row group or of all, each in one piece.

        Raises:
            ParquetError: the pages are damaged, or decode to more than the bounds allow.
            OSError: the file is gone, or its disk fails.
        """
        wanted = self.groups if group is None else [self.groups[group]]
        size = sum(bytes_ for one in wanted for name, bytes_ in one.sizes.items() if columns is None or name in columns)
        if size > self.most:
            raise ParquetError(f"decodes to {size:,} bytes; of a file of its size at most {self.most:,} are read")
        _, content = self._call("read", columns=None if columns is None else list(columns), group=group)
        return pa.ipc.open_stream(pa.py_buffer(content)).read_all().combine_chunks()

    def _call(self, function: str, **values: Any) -> tuple[Any, bytes]:  # noqa: ANN401 (JSON)
        try:
            return self._helper.call(function, {"path": self._path, **values}, self._content)
        except LimitError as error:
            raise ParquetError(f"is damaged, or no data of this kind: {error}") from None
        except CallError as error:
            if error.number is not None:
                raise OSError(error.number, os.strerror(error.number), self._path) from None
            raise ParquetError(f"is damaged or not Parquet ({error.kind}: {error.text[:200]})") from None


def _row_group(rows: int, columns: dict[str, tuple[int, int | None]]) -> RowGroup:
    sizes = {name: size for name, (size, _) in columns.items()}
    return RowGroup(rows, sizes, {name: nulls for name, (_, nulls) in columns.items()})
