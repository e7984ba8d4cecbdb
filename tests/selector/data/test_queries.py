from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selector.data.native import QUERIES, write_native
from selector.data.queries import QueryTable, read_queries
from selector.errors import DataError
from tests.selector.data.builders import dataset, write_queries


def test_round_trip(tmp_path):
    data = dataset()
    queries = QueryTable(data.query_items, data.pool_items, data.pool_starts, data.split)
    write_queries(queries, tmp_path / "q.parquet")
    again = read_queries(tmp_path / "q.parquet")
    for name in ("query_items", "pool_items", "pool_starts", "split"):
        np.testing.assert_array_equal(getattr(again, name), getattr(queries, name))
        assert getattr(again, name).dtype == getattr(queries, name).dtype
    assert len(again) == 3
    assert again.pool(1).tolist() == [5, 6]


def test_the_file_of_a_native_folder_is_one(tmp_path):
    write_native(dataset(), tmp_path / "native", "x")
    assert read_queries(tmp_path / "native" / QUERIES).query_items.tolist() == [7, 4, 9]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"query_item": [1]}, "has the columns query_item; expected query_item, pool, split"),
        ({"pool": pa.array([[1, None]])}, "pool: holds nulls"),
        ({"split": pa.array([0])}, "split: has type int64; expected int8"),
    ],
)
def test_other_tables_are_refused(tmp_path, columns, expected):
    whole = {"query_item": pa.array([3]), "pool": pa.array([[1, 2]]), "split": pa.array([0], pa.int8())}
    pq.write_table(pa.table(columns if "query_item" in columns else whole | columns), tmp_path / "q.parquet")
    with pytest.raises(DataError, match=r"q\.parquet") as caught:
        read_queries(tmp_path / "q.parquet")
    assert expected in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        read_queries(tmp_path / "none.parquet")
