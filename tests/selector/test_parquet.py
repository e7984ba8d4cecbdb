"""Hostile Parquet files: a table or one error, in bounded time and memory, and the process lives."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selector.data.columns import read_table
from selector.errors import DataError
from selector.parquet import ParquetError, ParquetReader, RowGroup


def write(file: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, file, **options)
    return file


def constant(file: Path) -> Path:
    """One value so many times: run lengths of a dictionary's only entry."""
    chunk = pa.table({"pool": pa.DictionaryArray.from_arrays(np.zeros(2**20, np.int8), pa.array(["x" * 1000]))})
    chunk = chunk.cast(pa.schema({"pool": pa.dictionary(pa.int32(), pa.string())}))
    with pq.ParquetWriter(file, chunk.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(chunk, row_group_size=2**23)
    # The reader would keep the dictionary: without the stored Arrow schema the column is what it says, texts.
    return without_arrow_schema(file)


def without_arrow_schema(file: Path) -> Path:
    content = file.read_bytes()
    file.write_bytes(content.replace(b"ARROW:schema", b"arrow_schema"))
    return file


def nested(file: Path) -> Path:
    """Few rows with very long lists."""
    values = pa.LargeListArray.from_arrays(pa.array([0, 2**27], pa.int64()), pa.array(np.zeros(2**27, np.int64)))
    return write(file, pa.table({"pool": values}), compression="zstd")


def packed(file: Path) -> Path:
    """Pages that say how large they become: zeros, compressed a thousandfold."""
    table = pa.table({"pool": pa.array(np.zeros(2**26))})
    return write(file, table, compression="zstd", use_dictionary=False)


@pytest.mark.parametrize("make", [constant, nested, packed])
def test_a_small_file_does_not_become_gigabytes(tmp_path: Path, make: object) -> None:
    file = make(tmp_path / "bomb.parquet")  # type: ignore[operator]
    assert file.stat().st_size < 2 * 2**20
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(DataError) as caught:
        read_table(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "at most" in str(caught.value) or "MiB of memory" in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2**10
    assert time.monotonic() - started < 60


def test_any_flipped_bit_of_a_footer(tmp_path: Path) -> None:
    """The helper is ended by some of them. The next file is read all the same."""
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", None], "c": [[1.0], [], [2.0, 3.0]]})
    good = write(tmp_path / "good.parquet", table).read_bytes()
    start = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    bits = random.Random(0).sample(range(start * 8, len(good) * 8), 250)
    refused = 0
    for bit in bits:
        content = bytearray(good)
        content[bit // 8] ^= 1 << bit % 8
        try:
            found = ParquetReader(bytes(content)).read()
            found.validate(full=True)
        except ParquetError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 25 < refused < 250
    assert ParquetReader(good).read() == table


def test_what_the_footer_says_of_groups(tmp_path: Path) -> None:
    table = pa.table({"a": [1, None, 3], "b": ["x", "y", "z"]})
    reader = ParquetReader(write(tmp_path / "a.parquet", table, row_group_size=2))
    assert [group.rows for group in reader.groups] == [2, 1]
    assert [group.nulls for group in reader.groups] == [{"a": 1, "b": 0}, {"a": 0, "b": 0}]
    assert all(isinstance(group, RowGroup) and min(group.sizes.values()) > 0 for group in reader.groups)
    assert reader.schema == table.schema
    assert reader.read(["b"], 1) == table.select(["b"]).slice(2)
    assert reader.read() == table


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", pa.table({"a": [1]}))
    assert ParquetReader(file).read().num_rows == 1
    write(file, pa.table({"a": [1, 2]}))
    assert ParquetReader(file).read().num_rows == 2


def test_large_files_have_room(tmp_path: Path) -> None:
    """The bounds follow from the size: an embedding table of any size is read."""
    content = write(tmp_path / "a.parquet", pa.table({"a": [1]}))
    reader = ParquetReader(content)
    assert reader.most >= 256 * 2**20
    with content.open("r+b") as file:
        file.truncate(2**33)  # no Parquet any more, but its bounds are known
    with pytest.raises(ParquetError, match="damaged or not Parquet"):
        ParquetReader(content)
