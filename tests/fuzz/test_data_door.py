"""The data door and the items door, beyond single broken values: structures altered and files of every form mutated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.data import DataSettings, load
from selector.data.native import MANIFEST, TABLES
from sweep.items import ItemsSettings, open_items
from tests.fuzz.builders import make_forms
from tests.fuzz.harness import altered, budget, held, mutated
from tests.fuzz.mutations import altered_table
from tests.fuzz.readers import opened
from tests.selector.data.builders import older_data, rl_data


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_forms(tmp_path_factory.mktemp("forms"))


@budget()
@given(data=st.data(), form=st.sampled_from(("rl", "older")))
def test_several_values_of_json(forms: Path, data: st.DataObject, form: str) -> None:
    content = data.draw(altered(rl_data() if form == "rl" else older_data()))
    file = forms / form / "altered.json"
    file.write_text(json.dumps(content))
    held(lambda: opened(file))


@budget()
@given(data=st.data(), form=st.sampled_from(("rl", "older")))
def test_bytes_of_json(forms: Path, data: st.DataObject, form: str) -> None:
    file = forms / form / "altered.json"
    file.write_bytes(data.draw(mutated((forms / form / "rl_data.json").read_bytes())))
    held(lambda: opened(file))


@budget()
@given(data=st.data(), name=st.sampled_from(("rl/embeddings.pth", "table.npy")))
def test_bytes_of_embeddings(forms: Path, data: st.DataObject, name: str) -> None:
    file = forms / f"altered{Path(name).suffix}"
    file.write_bytes(data.draw(mutated((forms / name).read_bytes())))
    held(lambda: opened(forms / "rl" / "rl_data.json", embeddings=file))


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
    held(lambda: opened(folder))


@budget()
@given(data=st.data())
def test_the_manifest_of_native_files(forms: Path, data: st.DataObject) -> None:
    folder = copied(forms)
    (folder / MANIFEST).write_text(json.dumps(data.draw(altered(json.loads((folder / MANIFEST).read_bytes())))))
    held(lambda: opened(folder))


@budget()
@given(data=st.data(), name=st.sampled_from(TABLES))
def test_other_columns_in_native_tables(forms: Path, data: st.DataObject, name: str) -> None:
    """Well-formed Parquet with the right names and anything in them, or rows dropped, doubled and shuffled."""
    folder = copied(forms)
    table = altered_table(pq.read_table(folder / name), data.draw(st.randoms(use_true_random=False)))
    pq.write_table(table, folder / name)
    held(lambda: opened(folder))


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
