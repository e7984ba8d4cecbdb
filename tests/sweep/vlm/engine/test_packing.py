from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sweep.vlm.engine.packing import TokenRow, batch_size, common_prefix, pack, packed_length
from sweep.vlm.engine.prefill import block_groups

SEQUENCES = st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=14)


def rows_of(sequences: set[tuple[int, ...]]) -> list[TokenRow]:
    rows = [
        TokenRow(
            tokens=np.array(sequence) + 100,
            symbols=np.array(sequence),
            positions=np.broadcast_to(np.arange(len(sequence)), (3, len(sequence))),
            images=(),
        )
        for sequence in sequences
    ]
    return sorted(rows, key=lambda row: row.key)


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_prefix(left: list[int], right: list[int]) -> None:
    length = common_prefix(np.array(left, dtype=np.int64), np.array(right, dtype=np.int64))
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]


@given(SEQUENCES)
def test_paths_spell_the_prompts_and_each_prefix_stands_once(sequences: set[tuple[int, ...]]) -> None:
    rows = rows_of(sequences)
    packed = pack(rows)
    for row, path, shared in zip(rows, packed.paths, packed.shared, strict=True):
        assert packed.tokens[path].tolist() == row.tokens.tolist()
        assert packed.positions[:, path].tolist() == row.positions.tolist()
        assert 0 <= shared < len(row)
        assert (np.diff(path[shared:]) == 1).all()
    prefixes = {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert len(packed.tokens) == len(prefixes) == packed_length(rows)
    assert packed.saved == sum(map(len, sequences)) - len(prefixes)


@given(SEQUENCES, st.integers(1, 30))
def test_batches_hold_to_the_limit_and_lose_nothing(sequences: set[tuple[int, ...]], limit: int) -> None:
    rows = rows_of(sequences)
    at = 0
    while at < len(rows):
        count = batch_size(rows[at:], limit)
        assert 1 <= count <= len(rows) - at
        batch = rows[at : at + count]
        assert count == 1 or packed_length(batch) <= limit
        if at + count < len(rows):
            assert packed_length(rows[at:]) > limit
        at += count


def test_batches_end_where_little_is_shared() -> None:
    chains = {(family, *range(5, 5 + length)) for family in (0, 1, 2) for length in range(3, 8)}
    rows = rows_of(chains)
    assert batch_size(rows, 18) == 10  # two families of eight tokens; two prompts of the third would still fit
    assert batch_size(rows, 10_000) == len(rows)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 2000)), min_size=1, max_size=40))
def test_groups_hold_every_segment_once_without_much_padding(segments: list[tuple[int, int]]) -> None:
    queries = np.array([own for own, _ in segments])
    keys = np.array([own + shared for own, shared in segments])
    groups = block_groups(queries, keys)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(segments)))
    for group in groups:
        padded = len(group) * int(queries[group].max()) * int(keys[group].max())
        exact = int((queries[group] * keys[group]).sum())
        assert len(group) == 1 or padded <= exact * 1.25 + (1 << 14)
