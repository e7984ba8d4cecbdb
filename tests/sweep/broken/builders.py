"""Small training data with one thing broken."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from selector.data import DataSettings, Split, load
from selector.data.native import write_native
from tests.selector.data.builders import embeddings, rl_data, store

Prepare = Callable[[Path], object]


def beam(field: str, value: object) -> Prepare:
    """Beam 1 of query 3 has this value in this field."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        data["3"]["pointer_candidates"][1][field] = value
        store(folder, data)

    return prepare


def entry(field: str, value: object) -> Prepare:
    """Query 3 has this value in this field."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        data["3"][field] = value
        store(folder, data)

    return prepare


def pointing(*picks: int) -> Prepare:
    """Beam 1 of query 3 points at these positions."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        pool = data["3"]["candidate_pool_ids"]
        data["3"]["pointer_candidates"][1] |= {
            "pointer": list(picks),
            "pointer_global": [pool[pick] if pick < len(pool) else 29 for pick in picks],
        }
        store(folder, data)

    return prepare


def text(content: str | bytes) -> Prepare:
    return lambda folder: store(folder, content)


def without_column(column: str) -> Prepare:
    def prepare(folder: Path) -> None:
        data = rl_data()
        for query in data.values():
            for one in query["pointer_candidates"]:
                del one[column]
        store(folder, data)

    return prepare


def alike(split: Split) -> Prepare:
    """All beams of this split's queries have the same outcomes."""

    def prepare(folder: Path) -> None:
        data = rl_data()
        found = load(DataSettings(path=store(folder, data)))
        for query in found.query_items[found.indices(split)]:
            for one in data[str(query)]["pointer_candidates"]:
                one |= {"vqa_correct": 0, "vqa_acc_score": 0.0}
        store(folder, data)

    return prepare


def table(file: str, write: Callable[[io.BytesIO], object], keep: int | None = None) -> Prepare:
    """Valid RL data beside this embedding file, of which only the first bytes are kept."""

    def prepare(folder: Path) -> None:
        store(folder, rl_data())
        (folder / "embeddings.pth").unlink()
        buffer = io.BytesIO()
        write(buffer)
        (folder / file).write_bytes(buffer.getvalue()[:keep])

    return prepare


def native(change: Callable[[Path], object]) -> Prepare:
    """Data in native form, changed after it was written."""

    def prepare(folder: Path) -> None:
        data = load(DataSettings(path=store(folder.parent / "source", rl_data())))
        write_native(data, folder, "test")
        change(folder)

    return prepare


def column(file: str, name: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Replaces a column of a Parquet file, keeping its type."""

    def rewrite(folder: Path) -> None:
        found = pq.read_table(folder / file)
        values = found.column(name).to_pylist()
        change(values)
        index = found.column_names.index(name)
        pq.write_table(found.set_column(index, name, pa.array(values, found.schema.field(name).type)), folder / file)

    return rewrite


def cut(file: str, share: float = 0.5) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: int((folder / file).stat().st_size * share)]
    )


def spoilt(value: float) -> torch.Tensor:
    rows = embeddings()
    rows[7, 2] = value
    return rows
