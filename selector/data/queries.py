"""Queries with their pools and splits, without beams: what `queries.parquet` of the native form holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from selector.arrays import Int8Array, Int64Array
from selector.data.columns import array_of, check_columns, lists_of, owned, read_table, starts_of, values_of
from selector.data.place import Place, file_label

COLUMNS = {"query_item": pa.int64(), "pool": pa.list_(pa.int64()), "split": pa.int8()}


@dataclass(frozen=True)
class QueryTable:
    """Queries in order. Arrays as in `Dataset`. Their values are checked with the data set that they become part of.

    Attributes:
        query_items: int64 [Q].
        pool_items: int64 [sum K].
        pool_starts: int64 [Q + 1].
        split: int8 [Q], values of `Split`.
    """

    query_items: Int64Array
    pool_items: Int64Array
    pool_starts: Int64Array
    split: Int8Array

    def __len__(self) -> int:
        return len(self.query_items)

    def pool(self, query: int) -> Int64Array:
        """Item ids of one query's candidates, int64 [K]. `query` is a position, not an item."""
        return self.pool_items[self.pool_starts[query] : self.pool_starts[query + 1]]


def read_queries(path: Path) -> QueryTable:
    """Read a Parquet file in the form of `queries.parquet`.

    Raises:
        DataError: missing, damaged, other columns or types, or nulls.
    """
    table = read_table(path)
    check_columns(table, COLUMNS, Place(file_label(path)))
    return queries_of(table)


def table_of(queries: QueryTable) -> pa.Table:
    """The Arrow form."""
    return pa.table(
        {
            "query_item": pa.array(queries.query_items),
            "pool": lists_of(queries.pool_items, queries.pool_starts),
            "split": pa.array(queries.split, pa.int8()),
        }
    )


def queries_of(table: pa.Table) -> QueryTable:
    """From a table whose columns were checked."""
    pools = array_of(table, "pool")
    return QueryTable(
        query_items=values_of(table, "query_item"),
        pool_items=owned(pools.flatten()),
        pool_starts=starts_of(owned(pools.value_lengths())),
        split=values_of(table, "split"),
    )
