"""Answers as rows of Parquet: the columns, and the way there and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selector.parquet import ParquetReader
from sweep.vlm.work import Answer, Failure, FailureKind, Result, WorkItem

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("targets", pa.string()),
        pa.field("text", pa.string()),
        pa.field("gt_prob", pa.float64()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("failure_kind", pa.string()),
        pa.field("failure_reason", pa.string()),
        pa.field("failure_label", pa.string()),
        pa.field("query", pa.int64()),
        pa.field("demonstrations", pa.list_(pa.int64())),
        pa.field("model", pa.string()),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
READ = [name for name in SCHEMA.names if name not in ("query", "demonstrations", "model")]
ROWS_PER_GROUP = 16_384
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of the store.

    Attributes:
        key: 64 hex digits over everything that can change the answer.
        targets: hash of the ground-truth answers where their probability is wanted as well, else None.
    """

    key: str
    targets: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A result to be stored. `item` and `model` are for people who read the file. `time` is in microseconds UTC."""

    wanted: Wanted
    item: WorkItem
    result: Result
    model: str
    time: int


class ForeignPartError(Exception):
    """A file that looks like a part and holds something else."""


def to_table(rows: Sequence[AnswerRow]) -> pa.Table:
    """Rows in the order given."""
    return pa.Table.from_pylist([_fields(row) for row in rows], schema=SCHEMA)


def _fields(row: AnswerRow) -> dict[str, Any]:
    result = row.result
    fields: dict[str, Any] = {
        "key": row.wanted.key,
        "targets": row.wanted.targets,
        "query": row.item.query,
        "demonstrations": list(row.item.demonstrations),
        "model": row.model,
        "time": EPOCH + timedelta(microseconds=row.time),
    }
    if isinstance(result, Answer):
        return fields | {"text": result.text, "gt_prob": result.gt_prob, "prompt_tokens": result.prompt_tokens}
    return fields | {
        "failure_kind": result.kind.value,
        "failure_reason": result.reason,
        "failure_label": result.label,
    }


def result_for(row: dict[str, Any], wanted: Wanted) -> Result | None:
    """What a stored row of the same key says to a request. None if it cannot serve it.

    A text does not depend on whether it was scored, so that a row with a score serves a request without one. Nor does
    an unreadable image. But a prompt may be too long only together with the answers to be scored.
    """
    same_targets = row["targets"] == wanted.targets
    if row["failure_kind"] is None:
        if wanted.targets is not None and not same_targets:
            return None
        if row["text"] is None:
            return None  # neither an answer nor a failure
        return Answer(row["text"], None if wanted.targets is None else row["gt_prob"], row["prompt_tokens"])
    if row["failure_kind"] not in set(FailureKind):
        return None  # of another version
    kind = FailureKind(row["failure_kind"])
    if not kind.lasting or not (kind is FailureKind.IMAGE or same_targets or row["targets"] is None):
        return None
    return Failure(kind, row["failure_reason"], row["failure_label"])


def row_groups(part: Path) -> Iterator[pa.Table]:
    """All of a part, as many rows at a time as were written together.

    Raises:
        ForeignPartError: it has not the columns of a part.
        OSError, ParquetError, pyarrow.ArrowException: it cannot be read or is damaged.
    """
    reader = _opened(part, SCHEMA.names)
    for group in range(len(reader.groups)):
        yield reader.read(SCHEMA.names, group).select(SCHEMA.names).cast(SCHEMA)


def rows_with_keys(part: Path, keys: pa.Array) -> Iterator[dict[str, Any]]:
    """Rows with one of these keys. Texts are read only of row groups that hold such a row.

    Raises: as `row_groups`.
    """
    reader = _opened(part, READ)
    for group in range(len(reader.groups)):
        held = pc.is_in(reader.read(["key"], group).column("key"), value_set=keys)
        if pc.any(held).as_py():
            yield from reader.read(READ, group).filter(held).to_pylist()


def _opened(part: Path, columns: Sequence[str]) -> ParquetReader:
    reader = ParquetReader(part)
    for name in columns:
        if name not in reader.schema.names or reader.schema.field(name).type != SCHEMA.field(name).type:
            raise ForeignPartError(f"it has no column {name} of type {SCHEMA.field(name).type}")
    return reader


def part_writer(file: Path) -> pq.ParquetWriter:
    """For a new part, with checksums that `row_groups` and `rows_with_keys` verify."""
    return pq.ParquetWriter(file, SCHEMA, compression="zstd", write_page_checksum=True)
