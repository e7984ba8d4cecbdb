"""Every answer behind an evaluation as one Parquet table, so that its numbers can be checked and computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from selector.parquet import ParquetError, ParquetReader
from sweep.errors import RunError
from sweep.storage.outage import is_outage
from sweep.storage.path import StoredPath


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One line of the table of answers.

    Attributes:
        query: query index of the data set.
        item: its item id.
        demonstrations: item ids in the order of the prompt.
        accuracy: under the metric that ranks. None with a failure.
        failure: its kind. None with an answer.
    """

    row: str
    split: str
    query: int
    item: int
    shots: int
    draw: int
    demonstrations: tuple[int, ...]
    text: str | None
    accuracy: float | None
    failure: str | None
    reason: str | None


REQUIRED = ("row", "split", "query", "item", "shots", "draw", "demonstrations")

SCHEMA = pa.schema(
    [
        ("row", pa.string()),
        ("split", pa.string()),
        ("query", pa.int64()),
        ("item", pa.int64()),
        ("shots", pa.int32()),
        ("draw", pa.int32()),
        ("demonstrations", pa.list_(pa.int64())),
        ("text", pa.string()),
        ("accuracy", pa.float64()),
        ("failure", pa.string()),
        ("reason", pa.string()),
    ]
)


def write_answers(file: StoredPath, records: Sequence[AnswerRecord]) -> None:
    """Write the table of answers as Parquet, atomically. Raises OSError, which names the file."""
    columns = {name: [getattr(record, name) for record in records] for name in SCHEMA.names}
    with file.replacing() as temporary:
        pq.write_table(pa.table(columns, schema=SCHEMA), temporary, compression="zstd", write_page_checksum=True)


def read_answers(file: StoredPath) -> list[AnswerRecord]:
    """Read what `write_answers` wrote.

    Raises:
        RunError: the file is missing, damaged or no table of answers.
    """
    try:
        stored = ParquetReader(file.read_bytes())
        if not stored.schema.equals(SCHEMA):
            raise ValueError("other columns")
        table = stored.read()
        if any(table.column(name).null_count for name in REQUIRED):
            raise ValueError("values are missing")
        return [AnswerRecord(**{**row, "demonstrations": tuple(row["demonstrations"])}) for row in table.to_pylist()]
    except (OSError, ValueError, TypeError, ParquetError, pa.ArrowException) as error:
        if isinstance(error, OSError) and is_outage(error):
            raise
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise RunError(f"{file}: cannot be read as a table of answers ({reason}); evaluate the run again") from None
