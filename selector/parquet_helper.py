"""Opens Parquet files in a process of its own (`selector.helper`): over a damaged one pyarrow may end the process.

Functions take JSON values and give Arrow's IPC form. They run in the helper. The caller never sees the file.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from selector.helper import serve


@lru_cache(maxsize=2)
def _opened(path: str, _size: int, _changed: int) -> pq.ParquetFile:
    """A file whose pages are checked against their checksums, where it has them."""
    return pq.ParquetFile(pa.OSFile(path), page_checksum_verification=True)


def _file(value: Any, content: bytes) -> pq.ParquetFile:  # noqa: ANN401 (JSON)
    if value["path"] is None:
        return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    status = Path(value["path"]).stat()
    return _opened(value["path"], status.st_size, status.st_mtime_ns)


def describe(value: Any, content: bytes) -> tuple[Any, bytes]:  # noqa: ANN401 (JSON)
    """The schema, and of each row group its rows, and each column's bytes and nulls, or None where nobody says."""
    file = _file(value, content)
    metadata, schema = file.metadata, file.schema
    groups = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns: dict[str, list[int | None]] = {}
        for place in range(group.num_columns):
            chunk = group.column(place)
            if chunk.physical_type != schema.column(place).physical_type:
                raise pa.ArrowInvalid(f"its footer contradicts itself on the type of row group {number}")
            # Only now: of a column of another type pyarrow (26.0.1) ends the process over its statistics.
            counted = chunk.is_stats_set and chunk.statistics.has_null_count
            name = chunk.path_in_schema.partition(".")[0]
            size, nulls = columns.get(name, [0, None])
            columns[name] = [
                (size or 0) + chunk.total_uncompressed_size,
                chunk.statistics.null_count if counted else nulls,
            ]
        groups.append([group.num_rows, columns])
    return groups, file.schema_arrow.remove_metadata().serialize().to_pybytes()


class _Table:
    """A table in Arrow's form for streams."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        counter = pa.MockOutputStream()
        self._write(counter)
        self.size: int = counter.size()

    def write(self, pipe: IO[bytes]) -> None:
        """Without a copy of the whole."""
        self._write(pa.PythonFile(_Open(pipe), mode="w"))

    def _write(self, sink: Any) -> None:  # noqa: ANN401 (one of Arrow's files)
        with pa.ipc.new_stream(sink, self._table.schema) as writer:
            writer.write_table(self._table)


class _Open:
    """A pipe that Arrow does not close."""

    closed = False

    def __init__(self, pipe: IO[bytes]) -> None:
        self.write, self.flush = pipe.write, pipe.flush

    def close(self) -> None:
        """The next answer needs it."""


def read(value: Any, content: bytes) -> tuple[None, _Table]:  # noqa: ANN401 (JSON)
    """A table of some columns, of one row group or of all, checked in full."""
    file = _file(value, content)
    columns, group = value["columns"], value["group"]
    try:
        if group is None:
            table = file.read(columns=columns, use_threads=False).combine_chunks()
        else:
            table = file.read_row_group(group, columns=columns, use_threads=False).combine_chunks()
    except BaseException:
        _opened.cache_clear()  # after a failure the file is opened afresh
        raise
    table.validate(full=True)
    return None, _Table(table.replace_schema_metadata())


if __name__ == "__main__":
    serve({"describe": describe, "read": read})
