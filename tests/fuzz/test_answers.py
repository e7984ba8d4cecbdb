"""The store of answers beside damaged and foreign parts: what is whole is found, the rest is skipped by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.answers.rows import Wanted
from sweep.answers.store import AnswerStore
from sweep.answers.writer import AnswerWriter
from sweep.vlm.work import Answer, Failure, FailureKind, WorkItem
from tests.fuzz.harness import budget, held, mutated
from tests.fuzz.test_data_door import COLUMNS

ITEMS = {WorkItem(number, (number + 1,)): Wanted(f"{number:064x}") for number in range(6)}


def filled(folder: Path) -> bytes:
    """One part with every kind of row; returns its bytes."""
    with AnswerWriter(AnswerStore(folder), "model") as writer:
        for number, (item, wanted) in enumerate(ITEMS.items()):
            writer.add(
                item, wanted, Answer(f"cat {number}", None, 7) if number % 2 else Failure(FailureKind.IMAGE, "r", "l")
            )
    (part,) = AnswerStore(folder).parts()
    return part.read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    filled(folder)
    return folder


def looked_up(good: Path, name: str) -> None:
    """The good part serves all requests whatever stands beside it."""
    store = AnswerStore(good)
    found = held(lambda: store.lookup(ITEMS))
    assert found is not None and set(found) == set(ITEMS)
    held(lambda: AnswerStore(good).compact(many=99))
    (good / name).unlink()


@budget()
@given(data=st.data())
def test_bytes(good: Path, data: st.DataObject) -> None:
    (part,) = AnswerStore(good).parts()
    (good / "part-1.parquet").write_bytes(data.draw(mutated(part.read_bytes())))
    looked_up(good, "part-1.parquet")


@budget()
@given(data=st.data())
def test_columns(good: Path, data: st.DataObject) -> None:
    (part,) = AnswerStore(good).parts()
    table = pq.read_table(part)
    where = data.draw(st.integers(0, table.num_columns - 1))
    column = data.draw(COLUMNS)
    rows = min(len(column), len(table))
    columns = {name: table.column(name).slice(0, rows) for name in table.column_names}
    columns[table.column_names[where]] = column.slice(0, rows)
    pq.write_table(pa.table(columns), good / "part-1.parquet")
    looked_up(good, "part-1.parquet")
