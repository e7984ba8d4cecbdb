"""What holds for any valid data and any cut. Damaged files of all kinds are made by `tests/fuzz`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data import DataSettings, Outcome, load
from selector.data.native import write_native
from selector.errors import DataError
from tests.selector.data.builders import rl_data, store

FEW = settings(max_examples=40, deadline=None)
TEXT = json.dumps(rl_data())


@FEW
@given(cut=st.integers(0, len(TEXT) - 1))
def test_every_truncation_is_refused_as_one(cut):
    with tempfile.TemporaryDirectory() as folder, pytest.raises(DataError, match=r"truncated|empty"):
        load(DataSettings(path=store(Path(folder), TEXT[:cut])))


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
