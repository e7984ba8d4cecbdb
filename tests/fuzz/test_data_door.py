"""The data door and the items door, beyond single broken values: structures altered and files of every form mutated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.data import DataSettings, load
from selector.data.native import MANIFEST, TABLES, write_native
from sweep.items import ItemsSettings, open_items, write_items
from tests.fuzz.harness import altered, budget, held, mutated
from tests.selector.data.builders import older_data, rl_data, store
from tests.sweep.items.builders import new_items


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`rl/`, `older/`, `native/` and `items/`, all good."""
    folder = tmp_path_factory.mktemp("forms")
    store(folder / "rl", rl_data())
    store(folder / "older", older_data())
    table = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.save(folder / "table.npy", table)
    write_native(load(DataSettings(path=folder / "rl")), folder / "native", "x")
    write_items(folder / "items", new_items(3))
    return folder


def opened(path: Path, **more: Any) -> None:
    found = held(lambda: load(DataSettings(path=path, **more)))
    if found is not None:
        assert found.queries and np.isfinite(found.embeddings).all()
        assert found.beam_picks.min() >= 0 and found.pool_items.max() < len(found.embeddings)


@budget()
@given(data=st.data(), form=st.sampled_from(("rl", "older")))
def test_several_values_of_json(forms: Path, data: st.DataObject, form: str) -> None:
    content = data.draw(altered(rl_data() if form == "rl" else older_data()))
    file = forms / form / "altered.json"
    file.write_text(json.dumps(content))
    opened(file)


@budget()
@given(data=st.data(), form=st.sampled_from(("rl", "older")))
def test_bytes_of_json(forms: Path, data: st.DataObject, form: str) -> None:
    file = forms / form / "altered.json"
    file.write_bytes(data.draw(mutated((forms / form / "rl_data.json").read_bytes())))
    opened(file)


@budget()
@given(data=st.data(), name=st.sampled_from(("rl/embeddings.pth", "table.npy")))
def test_bytes_of_embeddings(forms: Path, data: st.DataObject, name: str) -> None:
    file = forms / f"altered{Path(name).suffix}"
    file.write_bytes(data.draw(mutated((forms / name).read_bytes())))
    opened(forms / "rl" / "rl_data.json", embeddings=file)


def test_an_array_that_claims_to_be_larger_than_memory(forms: Path) -> None:
    file = forms / "altered.npy"
    raw = (forms / "table.npy").read_bytes()
    file.write_bytes(raw.replace(b"(30, 4), }", b"(9999999999, 4), }"))
    assert held(lambda: load(DataSettings(path=forms / "rl" / "rl_data.json", embeddings=file))) is None


def copied(forms: Path) -> Path:
    target = forms / "altered"
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(forms / "native", target))


@budget()
@given(data=st.data(), name=st.sampled_from((*TABLES, MANIFEST)))
def test_bytes_of_native_files(forms: Path, data: st.DataObject, name: str) -> None:
    folder = copied(forms)
    (folder / name).write_bytes(data.draw(mutated((folder / name).read_bytes())))
    opened(folder)


@budget()
@given(data=st.data())
def test_the_manifest_of_native_files(forms: Path, data: st.DataObject) -> None:
    folder = copied(forms)
    (folder / MANIFEST).write_text(json.dumps(data.draw(altered(json.loads((folder / MANIFEST).read_bytes())))))
    opened(folder)


COLUMNS = st.sampled_from(
    (
        pa.array([1, 2, None]),
        pa.array([1.5, float("nan"), 3.0]),
        pa.array([[1], [], None], pa.list_(pa.int64())),
        pa.array([[1, 2**40], [3], [-1]], pa.list_(pa.int64())),
        pa.array([[1.0] * 4] * 3, pa.list_(pa.float32(), 4)),
        pa.array([b"x", b"", None]),
        pa.array(["a", "", None]),
        pa.array([{"a": 1}, None, {"a": 2}]),
        pa.array([None, None, None]),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([True, False, None]),
        pa.array([], pa.int64()),
    )
)


@budget()
@given(data=st.data(), name=st.sampled_from(TABLES))
def test_other_columns_in_native_tables(forms: Path, data: st.DataObject, name: str) -> None:
    """Well-formed Parquet with the right names and anything in them, or rows dropped, doubled and shuffled."""
    folder = copied(forms)
    table = pq.read_table(folder / name)
    if data.draw(st.booleans()):
        rows = data.draw(st.lists(st.integers(0, len(table) - 1), max_size=40))
        table = table.take(pa.array(rows, pa.int64()))
    else:
        column = data.draw(COLUMNS)
        where = data.draw(st.integers(0, table.num_columns - 1))
        values = pa.chunked_array([column] * (len(table) // 3 + 1)).slice(0, len(table)) if len(column) else column
        table = pa.table({
            field: values if number == where else table.column(field).slice(0, len(values))
            for number, field in enumerate(table.column_names)
        })  # fmt: skip
    pq.write_table(table, folder / name)
    opened(folder)


@budget()
@given(data=st.data())
def test_bytes_of_items(forms: Path, data: st.DataObject) -> None:
    folder = forms / "altered-items"
    folder.mkdir(exist_ok=True)
    file = folder / "items.parquet"
    file.write_bytes(data.draw(mutated((forms / "items" / "items.parquet").read_bytes())))
    table = held(lambda: open_items(ItemsSettings(path=file)))
    for item in range(len(table) if table is not None else 0):
        held(lambda table=table, item=item: (table.question(item), table.answers(item), table.image_bytes(item)))
