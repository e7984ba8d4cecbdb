"""Seeds and orders are functions of their labels. Their values are fixed in `tests/test_fixed_values.py`."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selector.seeds import derive_seed, derive_seed32, hashed_order, random_stream


def test_labels_are_told_apart() -> None:
    for derive in (derive_seed, derive_seed32):
        assert len({derive(1, 23), derive(12, 3), derive("1", "2", 3), derive(1, 2, 4)}) == 4
        assert derive(1, "a") == derive(1, "a")
    assert 0 <= derive_seed("anything") < 2**63
    assert 0 <= derive_seed32("anything") < 2**32


def test_streams_differ_by_seed_and_number() -> None:
    assert len({random_stream(seed, number).random() for seed in (0, 1, 2) for number in (0, 1, 2)}) == 9


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30, unique=True), st.integers(0, 5))
def test_an_item_is_ranked_alike_among_any_others(items: list[int], seed: int) -> None:
    order = np.array(items)[hashed_order(np.array(items), f"{seed}/")].tolist()
    assert sorted(order) == sorted(items)
    some = sorted(items)[::2]
    assert np.array(some)[hashed_order(np.array(some), f"{seed}/")].tolist() == [one for one in order if one in some]


def test_prefixes_give_other_orders() -> None:
    items = np.arange(50)
    assert hashed_order(items, "a:").tolist() != hashed_order(items, "b:").tolist()
