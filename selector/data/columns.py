"""Typed reading and durable writing of single Parquet tables, for the native form.

Arrow columns become numpy arrays that own their memory. Errors name the file and the column.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selector.arrays import Int64Array
from selector.data.json_text import check_file
from selector.data.place import Place, file_label
from selector.parquet import ParquetError, ParquetReader

NumberArray = np.ndarray[Any, np.dtype[Any]]  # of the type that the column's check has made sure of


def read_table(path: Path) -> pa.Table:
    """A whole Parquet file. DataError if it is missing, damaged or something else."""
    check_file(path)
    try:
        return ParquetReader(path).read()
    except ParquetError as error:
        raise Place(file_label(path)).error(str(error)) from None
    except OSError as error:
        raise Place(file_label(path)).error(f"cannot be read ({error.strerror or type(error).__name__})") from None


def check_columns(table: pa.Table, expected: dict[str, pa.DataType], place: Place) -> None:
    """Refuse other columns or types than the expected ones, and nulls, also inside of lists."""
    if sorted(table.column_names) != sorted(expected):
        found = ", ".join(ascii(name)[1:-1] for name in table.column_names) or "none"
        raise place.error(f"has the columns {found}; expected {', '.join(expected)}")
    for name, kind in expected.items():
        found_kind = table.schema.field(name).type
        if found_kind != kind:
            raise place.error(f"has type {found_kind}; expected {kind}", name)
        array = array_of(table, name)
        inner = array.flatten().null_count if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) else 0
        if array.null_count or inner:
            raise place.error("holds nulls; expected a value in every row", name)


def array_of(table: pa.Table, name: str) -> pa.Array:
    """One contiguous Arrow array of a table's column."""
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def values_of(table: pa.Table, name: str) -> NumberArray:
    """A column of numbers."""
    return owned(array_of(table, name))


def owned(array: pa.Array) -> NumberArray:
    """A numpy copy that does not keep the table alive, writable as the other readers' arrays are."""
    return np.array(array.to_numpy(zero_copy_only=False), copy=True)


def starts_of(lengths: npt.NDArray[np.integer[Any]]) -> Int64Array:
    """Offsets of consecutive runs of these lengths, int64 [number + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def lists_of(flat: Int64Array, starts: Int64Array) -> pa.ListArray:
    """Consecutive runs of a flat int64 array as list<int64>."""
    return pa.LargeListArray.from_arrays(starts, np.ascontiguousarray(flat)).cast(pa.list_(pa.int64()))


def to_disk(file: IO[Any]) -> None:
    """Make sure that what was written survives a power cut."""
    file.flush()
    os.fsync(file.fileno())
