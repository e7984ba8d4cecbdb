"""The table of answers on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from sweep.errors import RunError
from sweep.evaluation.answer_table import AnswerRecord, read_answers, write_answers
from sweep.storage.local import stored_at

RECORDS = [
    AnswerRecord("trial 3", "test", 4, 7, 2, 0, (5, 1), "a cat", 1.0, None, None),
    AnswerRecord("random", "test", 4, 7, 1, 2, (5,), None, None, "image", "cannot be read"),
    AnswerRecord("no demonstrations", "test", 5, 8, 1, 0, (), "", 0.0, None, None),
]


@pytest.mark.parametrize("records", [RECORDS, []], ids=["some", "none"])
def test_what_is_written_is_read(tmp_path: Path, records: list[AnswerRecord]) -> None:
    file = tmp_path / "answers.parquet"
    write_answers(stored_at(file), records)
    assert read_answers(stored_at(file)) == records


def missing(file: Path) -> None:
    file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def altered_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[40] ^= 1
    file.write_bytes(bytes(content))


def other_columns(file: Path) -> None:
    pq.write_table(pa.table({"row": ["trial 3"]}), file)


def without_a_query(file: Path) -> None:
    table = pq.read_table(file)
    at = table.schema.get_field_index("query")
    pq.write_table(table.set_column(at, "query", pc.if_else(pa.array([True, False, True]), table["query"], None)), file)


@pytest.mark.parametrize("damage", [missing, cut, altered_byte, other_columns, without_a_query])
def test_what_is_no_table_of_answers_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "answers.parquet"
    write_answers(stored_at(file), RECORDS)
    damage(file)
    with pytest.raises(RunError, match=r"answers\.parquet: cannot be read .*; evaluate the run again"):
        read_answers(stored_at(file))
