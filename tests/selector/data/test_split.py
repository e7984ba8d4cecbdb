from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selector.data import DataSettings, Split
from selector.data.settings import SplitSettings
from selector.data.split import assign_splits
from selector.errors import DataError


def sizes(split):
    return [int((split == int(one)).sum()) for one in (Split.TRAIN, Split.VAL, Split.TEST)]


@pytest.mark.parametrize(
    ("total", "val", "test", "expected"),
    [
        (2000, 0.15, 0.15, [1400, 300, 300]),
        (10, 0.15, 0.15, [6, 2, 2]),
        (10, 0.14, 0.0, [9, 1, 0]),
        (100, 0.001, 0.001, [98, 1, 1]),
        (3, 0.15, 0.15, [1, 1, 1]),
        (3, 0.5, 0.49, [1, 1, 1]),
        (2, 0.15, 0.0, [1, 1, 0]),
        (2, 0.99, 0.0, [1, 1, 0]),
    ],
)
def test_sizes_are_exact(total, val, test, expected):
    assert sizes(assign_splits(np.arange(total), SplitSettings(val=val, test=test))) == expected


@pytest.mark.parametrize(("total", "test"), [(0, 0.0), (1, 0.0), (2, 0.15), (1, 0.15)])
def test_too_few_queries(total, test):
    with pytest.raises(DataError, match=rf"^rl\.json: has {total} usable queries"):
        assign_splits(np.arange(total), SplitSettings(test=test), "rl.json")


def test_validation_queries_are_needed():
    with pytest.raises(DataError, match=r"split\.val is 0"):
        assign_splits(np.arange(100), SplitSettings(val=0.0))


@given(st.lists(st.integers(0, 10**17), min_size=3, max_size=60, unique=True), st.randoms(), st.integers(0, 5))
def test_the_order_of_the_file_does_not_matter(items, random, seed):
    settings = SplitSettings(val=0.2, test=0.3, seed=seed)
    shuffled = list(items)
    random.shuffle(shuffled)
    first = dict(zip(items, assign_splits(np.array(items), settings).tolist(), strict=True))
    assert first == dict(zip(shuffled, assign_splits(np.array(shuffled), settings).tolist(), strict=True))


def test_seeds_differ_and_repeat():
    items = np.arange(200)
    splits = [assign_splits(items, SplitSettings(seed=seed)) for seed in (0, 0, 1)]
    assert (splits[0] == splits[1]).all()
    assert (splits[0] != splits[2]).sum() > 50
    assert splits[0].dtype == np.int8


def test_the_assignment_is_fixed_for_good():
    """A change here would silently move queries between splits of runs that are to be compared."""
    assert assign_splits(np.arange(12), SplitSettings(val=0.25, test=0.25)).tolist() == [
        1,
        2,
        0,
        1,
        0,
        0,
        0,
        1,
        0,
        2,
        0,
        2,
    ]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"split": {"val": 0.6, "test": 0.4}}, "below 1"),
        ({"split": {"val": 1.0}}, "less than 1"),
        ({"split": {"val": -0.1}}, "greater than or equal to 0"),
        ({"split": {"train": 0.5}}, "Extra inputs"),
        ({"embeddings": "e.pth"}, "without path"),
    ],
)
def test_settings_that_make_no_sense(values, text):
    with pytest.raises(ValidationError, match=text):
        DataSettings.model_validate(values)
