"""Whatever stands in the files, the door either opens or names the reason in one line; valid data passes unchanged."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selector.data import DataSettings, Outcome, load
from selector.data.native import MANIFEST, TABLES, write_native
from selector.errors import DataError
from tests.selector.data.builders import older_data, rl_data, store

FAST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(FAST, max_examples=40)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**25) | st.just(-1)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


def opens_or_explains(path: Path, **values: Any) -> None:
    try:
        found = load(DataSettings(path=path, **values))
    except DataError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        assert found.queries >= 3


@FAST
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_random_bytes(tmp_path, content):
    opens_or_explains(store(tmp_path, content))


@FAST
@given(content=st.dictionaries(st.integers(-2, 40).map(str) | st.text(max_size=3), VALUES, max_size=5) | VALUES)
def test_random_json(tmp_path, content):
    opens_or_explains(store(tmp_path, json.dumps(content)))


def paths_into(value: Any) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in steps for path in [(key,), *((key, *rest) for rest in paths_into(inner))]]


BASES = {
    form: (content, paths_into({key: content[key] for key in ("8", "3")}))
    for form, content in (("rl", rl_data()), ("older", older_data()))
}


@FAST
@given(data=st.data(), form=st.sampled_from(sorted(BASES)))
def test_one_random_value_anywhere(tmp_path, data, form):
    content, places = BASES[form]
    content = copy.deepcopy(content)
    *way, last = data.draw(st.sampled_from(places))
    target = content
    for step in way:
        target = target[step]
    target[last] = data.draw(VALUES)
    opens_or_explains(store(tmp_path, content))


@FAST
@given(cut=st.integers(0, len(json.dumps(rl_data())) - 1))
def test_every_truncation_is_refused_as_one(tmp_path, cut):
    path = store(tmp_path, json.dumps(rl_data())[:cut])
    with pytest.raises(DataError, match=r"truncated|empty"):
        load(DataSettings(path=path))


@FEW
@given(data=st.data(), name=st.sampled_from(["embeddings.pth", "embeddings.npy"]))
def test_random_damage_to_embeddings(tmp_path, data, name):
    path = store(tmp_path, rl_data())
    table = tmp_path / name
    if name.endswith("npy"):
        np.save(table, np.ones((30, 4), np.float32))
    content = bytearray(table.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    table.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    opens_or_explains(path, embeddings=table)


@FEW
@given(data=st.data(), name=st.sampled_from([*TABLES, MANIFEST]))
def test_random_damage_to_native_files(data, name):
    with tempfile.TemporaryDirectory() as folder:
        native = Path(folder) / "native"
        write_native(load(DataSettings(path=store(Path(folder), rl_data()))), native, "x")
        content = (native / name).read_bytes()
        (native / name).write_bytes(content[: data.draw(st.integers(0, len(content) - 2))])  # more than the newline
        with pytest.raises(DataError):
            load(DataSettings(path=native))


@st.composite
def valid_rl_data(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """Ragged data with or without a pool, positions or ids, and the number of its embeddings."""
    items = draw(st.integers(6, 30))
    picks = draw(st.integers(1, 4))
    as_ids = draw(st.booleans())
    names = draw(st.sets(st.sampled_from([one.value for one in Outcome]), min_size=1))
    unit = st.floats(0, 1, width=32)
    content: dict[str, Any] = {}
    for query in draw(st.lists(st.integers(0, items - 1), min_size=3, max_size=6, unique=True)):
        pool = draw(st.lists(st.integers(0, items - 1), min_size=picks, max_size=items, unique=True))
        beams = []
        for _ in range(draw(st.integers(1, 5))):
            pointer = draw(st.permutations(range(len(pool))))[:picks]
            ids = [pool[position] for position in pointer]
            beam: dict[str, Any] = {"pointer": ids} if as_ids else {"pointer": pointer, "pointer_global": ids}
            for name in sorted(names):
                beam[name] = draw(st.sampled_from([0, 1])) if name == "vqa_correct" else draw(unit)
            beams.append(beam)
        content[str(query)] = {"candidate_pool_ids": pool, "pointer_candidates": beams}
    return content, items


@FEW
@given(case=valid_rl_data())
def test_valid_data_passes_both_forms_unchanged(case):
    content, items = case
    with tempfile.TemporaryDirectory() as folder:
        data = load(DataSettings(path=store(Path(folder), content, torch.ones(items, 3))))
        write_native(data, Path(folder) / "native", "x")
        again = load(DataSettings(path=Path(folder) / "native"))
    assert again.fingerprint() == data.fingerprint()
    assert again.counts == data.counts
    row = 0
    for query, (key, entry) in enumerate(content.items()):
        assert data.query_items[query] == int(key)
        pool = data.pool_items[data.pool_starts[query] : data.pool_starts[query + 1]]
        assert pool.tolist() == entry["candidate_pool_ids"]
        for beam in entry["pointer_candidates"]:
            expected = beam.get("pointer_global", beam["pointer"])
            assert pool[data.beam_picks[row]].tolist() == expected
            assert all(data.outcomes[name][row] == np.float32(beam[name.value]) for name in data.outcomes)
            row += 1
    assert row == len(data.beam_picks)
