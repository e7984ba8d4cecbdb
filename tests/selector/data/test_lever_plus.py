from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from selector.data import DataSettings, Outcome, load
from tests.selector.data.builders import QUERIES, load_json, older_data, pool_of, rl_data, store


def beams(data):
    return [beam for entry in data.values() for beam in entry["pointer_candidates"]]


def pool(data, query):
    return data.pool_items[data.pool_starts[query] : data.pool_starts[query + 1]].tolist()


def picked_items(data):
    """Item ids per beam, whatever the pools look like."""
    starts = np.repeat(data.pool_starts[:-1], np.diff(data.beam_starts))
    return data.pool_items[starts[:, None] + data.beam_picks].tolist()


def test_rl_data_as_it_stands(tmp_path):
    data = load_json(tmp_path, rl_data())
    assert data.query_items.tolist() == list(QUERIES)
    assert [pool(data, query) for query in range(6)] == [pool_of(query) for query in QUERIES]
    assert data.beam_picks.tolist() == [[0, 1], [1, 2], [2, 3]] * 6
    assert data.beam_starts.tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert list(data.outcomes) == [Outcome.CORRECT, Outcome.ACC_SCORE, Outcome.GT_PROB, Outcome.REL_SCORE]
    assert data.outcomes[Outcome.CORRECT].tolist() == [1, 0, 0] * 6
    np.testing.assert_array_equal(data.outcomes[Outcome.ACC_SCORE], np.tile(np.float32([1, 0.3, 0]), 6))
    assert data.counts == {}
    kinds = {array.dtype.name for array in (data.query_items, data.pool_items, data.pool_starts, data.beam_picks)}
    assert kinds == {"int64"}
    assert data.beam_starts.dtype == np.int64 and data.split.dtype == np.int8
    assert all(values.dtype == np.float32 for values in data.outcomes.values())


@pytest.mark.parametrize("field", ["pointer", "pointer_pos"])
def test_without_global_the_pointer_holds_item_ids(tmp_path, field):
    positions = load_json(tmp_path / "positions", rl_data())
    data = rl_data()
    for beam in beams(data):
        beam.pop("pointer")
        beam[field] = beam.pop("pointer_global")
    assert load_json(tmp_path / "ids", data).fingerprint() == positions.fingerprint()


def test_without_pool_it_is_the_sorted_union_of_the_kept_beams(tmp_path):
    data = rl_data()
    for beam in beams(data):
        beam["pointer"] = beam.pop("pointer_global")[::-1]
    for entry in data.values():
        entry.pop("candidate_pool_ids")
    data["8"]["pointer_candidates"][2]["eval_failed"] = True
    found = load_json(tmp_path, data)
    assert pool(found, 0) == sorted(pool_of(8)[:3])
    assert pool(found, 1) == sorted(pool_of(3)[:4])
    assert picked_items(found)[:2] == [pool_of(8)[1::-1], pool_of(8)[2:0:-1]]


def test_older_form(tmp_path):
    data = load_json(tmp_path, older_data())
    assert list(data.outcomes) == [Outcome.BEAM_SCORE]
    assert data.outcomes[Outcome.BEAM_SCORE].tolist() == [0.5, -1.25, 3.0] * 6
    assert pool(data, 0) == sorted([*pool_of(8)[:3], pool_of(8)[5]])
    assert picked_items(data)[:3] == [[one, pool_of(8)[5]] for one in pool_of(8)[:3]]


def test_left_out_beams_are_counted_by_reason(tmp_path):
    data = rl_data()
    data["8"]["pointer_candidates"][0].update(eval_failed=True, vqa_eval_mode="error", vqa_correct=None)
    data["8"]["pointer_candidates"][1].update(vqa_eval_mode="error", pointer="whatever")
    data["3"]["pointer_candidates"][2]["vqa_eval_mode"] = "fallback"
    for beam in data["21"]["pointer_candidates"]:
        beam["vqa_eval_mode"] = "fallback"
    found = load_json(tmp_path / "default", data)
    assert found.counts == {
        "beams_left_out_error": 1,
        "beams_left_out_eval_failed": 1,
        "beams_left_out_fallback": 4,
        "queries_left_out_without_beams": 1,
    }
    assert np.diff(found.beam_starts).tolist() == [1, 2, 3, 3, 3]
    assert 21 not in found.query_items
    kept = load_json(tmp_path / "kept", data, keep_fallback=True)
    assert kept.counts == {"beams_left_out_error": 1, "beams_left_out_eval_failed": 1}
    assert np.diff(kept.beam_starts).tolist() == [1, 3, 3, 3, 3, 3]


def test_messages_count_beams_as_the_file_does(tmp_path):
    data = rl_data()
    data["3"]["pointer_candidates"][0]["eval_failed"] = True
    data["3"]["pointer_candidates"][2]["vqa_correct"] = 3
    with pytest.raises(Exception, match="query 3: vqa_correct of beam 2: is 3"):
        load_json(tmp_path, data)


def test_other_keys_are_counted_not_read(tmp_path):
    data = rl_data() | {"_meta": {"model": "x", "seeds": [10**40]}, "notes": None}
    data["_meta"]["nan"] = float("nan")
    found = load_json(tmp_path, json.dumps(data).replace('"model": "x"', '"model": "x", "model": "y"'))
    assert found.counts == {"keys_not_queries": 2}
    assert found.queries == 6


@pytest.mark.parametrize("name", ["beam_score", "logprob_score"])
def test_scores_of_some_beams_are_left_out_and_counted(tmp_path, name):
    data = rl_data()
    for beam in beams(data)[:4]:
        beam[name] = 0.5
    found = load_json(tmp_path / "some", data)
    assert Outcome(name) not in found.outcomes
    assert found.counts == {f"{name}_values_left_out": 4}
    for number, beam in enumerate(beams(data)):
        beam[name] = -number
    assert load_json(tmp_path / "all", data).outcomes[Outcome(name)].tolist() == [-number for number in range(18)]


def test_query_in_its_own_pool_and_identical_beams_are_counted(tmp_path):
    data = rl_data()
    data["8"]["candidate_pool_ids"][5] = 8
    data["3"]["pointer_candidates"][1] = dict(data["3"]["pointer_candidates"][0])
    data["3"]["pointer_candidates"][2] = dict(data["3"]["pointer_candidates"][0])
    found = load_json(tmp_path, data)
    assert found.counts == {"identical_beams": 2, "query_in_own_pool": 1}
    assert len(found.beam_picks) == 18


def test_correct_may_be_a_boolean_and_ranges_have_a_tolerance(tmp_path):
    data = rl_data()
    for beam in beams(data):
        beam["vqa_correct"] = bool(beam["vqa_correct"])
    beams(data)[0]["vqa_acc_score"] = 1.0000005
    beams(data)[1]["vqa_rel_score"] = -1.0000005
    found = load_json(tmp_path, data)
    assert found.outcomes[Outcome.CORRECT].tolist() == [1, 0, 0] * 6


def test_a_byte_order_mark_is_forgiven(tmp_path):
    plain = load_json(tmp_path / "plain", rl_data())
    marked = load_json(tmp_path / "marked", b"\xef\xbb\xbf" + json.dumps(rl_data()).encode())
    assert marked.fingerprint() == plain.fingerprint()


def test_embeddings_of_any_float_type_and_container(tmp_path):
    path = store(tmp_path, rl_data(), table=torch.ones(30, 4, dtype=torch.bfloat16))
    expected = load(DataSettings(path=path)).fingerprint()
    for name, kind in (("a.npy", np.float64), ("b.npy", np.float16)):
        np.save(tmp_path / name, np.asfortranarray(np.ones((30, 4), dtype=kind)))
        found = load(DataSettings(path=path, embeddings=tmp_path / name))
        assert found.embeddings.dtype == np.float32 and found.embeddings.flags.c_contiguous
        assert found.fingerprint() == expected
    torch.save(torch.nn.Parameter(torch.ones(30, 4, dtype=torch.float64)), tmp_path / "c.PT")
    assert load(DataSettings(path=path, embeddings=tmp_path / "c.PT")).fingerprint() == expected
