"""Fewer training queries are nested, and all else stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selector.data.dataset import Split
from selector.errors import DataError
from selector.training.stage import training_queries
from tests.selector.training.test_options import DATASET, plain, run
from tests.selector.worlds import make_settings


def items_trained_on(**settings: Any) -> set[int]:
    queries = training_queries(DATASET, make_settings(**settings))
    assert (np.diff(queries) > 0).all() and (DATASET.split[queries] == int(Split.TRAIN)).all()
    return set(DATASET.query_items[queries].tolist())


def test_fewer_training_queries_are_nested_by_seed_and_count_in_both_stages() -> None:
    every = items_trained_on()
    assert items_trained_on(train_queries=1.0) == items_trained_on(train_queries=len(every)) == every
    smaller: set[int] = set()
    for count in range(1, len(every) + 1):
        larger = items_trained_on(train_queries=count)
        assert len(larger) == count and smaller < larger
        smaller = larger
    half = items_trained_on(train_queries=0.5)
    assert len(half) == round(len(every) / 2) and half == items_trained_on(train_queries=len(half))
    assert len(items_trained_on(train_queries=1e-9)) == 1
    assert len({frozenset(items_trained_on(train_queries=5, seed=seed)) for seed in range(6)}) == 6
    reports = run(train_queries=5)
    assert {report.train_queries for report in reports} == {5} and len(reports) == 5


def test_all_training_queries_by_their_number_change_nothing() -> None:
    assert plain(run(train_queries=1.0)) == plain(run())


def test_more_training_queries_than_there_are() -> None:
    with pytest.raises(DataError, match=r"train_queries 999 is more than the \d+ queries of the train split"):
        run(train_queries=999)


def test_fewer_training_queries_have_an_rce_artifact_of_their_own() -> None:
    keys = [make_settings(train_queries=count).rce_key() for count in (None, 5, 6, 0.5)]
    assert "train_queries" not in keys[0] and len({str(key) for key in keys}) == 4
