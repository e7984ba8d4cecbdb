"""The shared checks on data that no reader touched, as the demo data is."""

from __future__ import annotations

import numpy as np
import pytest

from selector.data import Outcome
from selector.data.checks import check_dataset, noticed
from selector.errors import DataError
from tests.selector.data.builders import dataset, embeddings


def with_row(row, value):
    table = embeddings().numpy()
    table[row] = value
    return table


def outcome(name, value):
    values = np.zeros(6, dtype=np.float32)
    values[5] = value
    return {"outcomes": {name: values}}


def picks(last):
    return {"beam_picks": np.array([[0, 1], [2, 1], [1, 0], [3, 0], [0, 3], last])}


BROKEN = {
    "no query": (
        {
            "query_items": np.zeros(0, np.int64),
            "pool_items": np.zeros(0, np.int64),
            "pool_starts": np.zeros(1, np.int64),
            "beam_starts": np.zeros(1, np.int64),
            "beam_picks": np.zeros((0, 2), np.int64),
        },
        "made: holds no query",
    ),
    "query twice": ({"query_items": np.array([7, 4, 7])}, "made: query 7: the query appears twice"),
    "query negative": ({"query_items": np.array([7, -4, 9])}, "made: query -4: the query id is negative"),
    "query too large": (
        {"query_items": np.array([7, 4, 30])},
        "made: query 30: the query itself: embeddings too short",
    ),
    "no pool": ({"pool_starts": np.array([0, 3, 3, 9])}, "made: query 4: pool: the pool is empty"),
    "pool too small": (
        {"pool_starts": np.array([0, 3, 4, 9])},
        "made: query 4: pool: the pool of 1 is smaller than the 2 picks",
    ),
    "pool negative": (
        {"pool_items": np.array([1, 2, 3, 5, -6, 10, 11, 12, 13])},
        "made: query 4: pool: item -6 is negative",
    ),
    "own pool twice": (
        {"pool_items": np.array([1, 2, 3, 5, 6, 10, 11, 12, 10])},
        "made: query 9: pool: item 10 appears twice",
    ),
    "pool too large": (
        {"pool_items": np.array([1, 2, 3, 5, 60, 10, 11, 70, 13])},
        r"made: query 4: pool: embeddings too short: made has 30 rows, 71 are needed \(first by item 60\)",
    ),
    "empty group": ({"beam_starts": np.array([0, 3, 3, 6])}, "made: query 4: picks: the group is empty"),
    "no picks": ({"beam_picks": np.zeros((6, 0), np.int64)}, "made: query 7: picks of beam 0: the beam picks nothing"),
    "pick too large": (picks([4, 0]), "made: query 9: picks of beam 2: position 4 .* pool of 4; expected 0 to 3"),
    "pick negative": (picks([1, -1]), "made: query 9: picks of beam 2: position -1"),
    "pick twice": (picks([2, 2]), r"made: query 9: picks of beam 2: repeats a pick \(pool positions \[2, 2\]\)"),
    "no outcome": ({"outcomes": {}}, "made: the beams carry no measured outcome; expected .*vqa_correct.*beam_score"),
    "half correct": (outcome(Outcome.CORRECT, 0.5), "made: query 9: vqa_correct of beam 2: is 0.5; expected 0 or 1"),
    "accuracy below 0": (outcome(Outcome.ACC_SCORE, -0.01), "made: query 9: vqa_acc_score of beam 2: is -0.01"),
    "infinite": (outcome(Outcome.GT_PROB, np.inf), "made: query 9: vqa_gt_prob of beam 2: is inf in float32"),
    "relevance below -1": (outcome(Outcome.REL_SCORE, -1.5), "made: .*: is -1.5; expected -1 to 1"),
    "zero row of a query": (
        {"embeddings": with_row(4, 0)},
        "made: query 4: the query itself: row 4 of made is all zero",
    ),
    "zero row of a pool": ({"embeddings": with_row(6, 0)}, "made: query 4: pool: row 6 of made is all zero"),
    "overlong row": ({"embeddings": with_row(6, 1e30)}, "made: query 4: pool: row 6 of made is too large for float32"),
    "last beam": (outcome(Outcome.GT_PROB, 1.01), "made: query 9: vqa_gt_prob of beam 2: is 1.01; expected 0 to 1"),
    "score": (outcome(Outcome.LOGPROB_SCORE, np.nan), "made: query 9: logprob_score of beam 2: is nan"),
    "split": ({"split": np.array([0, 1, -1], np.int8)}, "made: query 9: split: is -1; expected 0 .train., 1 .val."),
    "no val": ({"split": np.array([0, 0, 2], np.int8)}, "made: no query is in the val split"),
    "no train": ({"split": np.array([1, 1, 2], np.int8)}, "made: no query is in the train split"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_datasets(name):
    fields, message = BROKEN[name]
    with pytest.raises(DataError, match=f"^{message}"):
        check_dataset(dataset(**fields), "made")


def test_a_valid_dataset_passes():
    check_dataset(dataset(), "made")
    check_dataset(dataset(embeddings=with_row(29, 0)), "made")
    check_dataset(dataset(split=np.array([0, 1, 1], np.int8)), "made")
    check_dataset(dataset(**outcome(Outcome.BEAM_SCORE, -1e30)), "made")


def test_noticed_compares_within_groups_and_pools_only():
    assert noticed(dataset()) == {"query_in_own_pool": 0, "identical_beams": 0}
    picks = np.array([[0, 1], [0, 1], [0, 1], [0, 1], [1, 0], [0, 1]])
    assert noticed(dataset(beam_picks=picks))["identical_beams"] == 2
    items = np.array([7, 2, 4, 5, 6, 10, 11, 12, 9])
    assert noticed(dataset(pool_items=items))["query_in_own_pool"] == 2
