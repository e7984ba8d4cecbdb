"""The store of answers beside damaged and foreign parts: what is whole is found, the rest is skipped by name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.storage.local import stored_at
from sweep.vlm.answers.store import AnswerStore
from tests.fuzz.builders import ASKED, make_answers
from tests.fuzz.harness import budget, held, mutated
from tests.fuzz.mutations import COLUMNS


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    make_answers(folder)
    return folder


def looked_up(good: Path, name: str) -> None:
    """The good part serves all requests whatever stands beside it."""
    store = AnswerStore(stored_at(good))
    found = held(lambda: store.lookup(ASKED))
    assert found is not None and set(found) == set(ASKED)
    held(lambda: AnswerStore(stored_at(good)).compact(many=99))
    (good / name).unlink()


@budget()
@given(data=st.data())
def test_bytes(good: Path, data: st.DataObject) -> None:
    (part,) = AnswerStore(stored_at(good)).parts()
    (good / "part-1.parquet").write_bytes(data.draw(mutated(part.read_bytes())))
    looked_up(good, "part-1.parquet")


@budget()
@given(data=st.data())
def test_columns(good: Path, data: st.DataObject) -> None:
    (part,) = AnswerStore(stored_at(good)).parts()
    table = pq.read_table(part.local())
    where = data.draw(st.integers(0, table.num_columns - 1))
    column = data.draw(st.sampled_from(COLUMNS))
    rows = min(len(column), len(table))
    columns = {name: table.column(name).slice(0, rows) for name in table.column_names}
    columns[table.column_names[where]] = column.slice(0, rows)
    pq.write_table(pa.table(columns), good / "part-1.parquet")
    looked_up(good, "part-1.parquet")
