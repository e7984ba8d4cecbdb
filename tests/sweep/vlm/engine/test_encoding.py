from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweep.vlm.engine.encoding import PromptEncoder, multimodal_positions
from sweep.vlm.engine.engine import Engine
from tests.sweep.vlm.models import build_tokenizer

PIECES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6)), max_size=5)
TOKENIZER = build_tokenizer()
IMAGE = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")


def encoded(pieces: list[tuple[int, int, int]], tail: int, numbers: dict[str, int]) -> object:
    ids: list[int] = []
    grids = {}
    for place, (text, rows, columns) in enumerate(pieces):
        ids += [place + 1] * text + [IMAGE]
        grids[f"image {place} {rows} {columns}"] = (rows, columns)
    return PromptEncoder(TOKENIZER, IMAGE).row([*ids, *[7] * tail], list(grids), grids, numbers)


@given(PIECES, st.integers(1, 9))
def test_positions_are_those_of_the_model(engine: Engine, pieces: list[tuple[int, int, int]], tail: int) -> None:
    row = encoded(pieces, tail, {})
    ids = torch.from_numpy(row.tokens)[None]
    grid = torch.tensor([(1, 2 * rows, 2 * columns) for _, rows, columns in pieces] or [(0, 0, 0)])
    expected, deltas = engine.loaded.model.model.get_rope_index(ids, (ids == IMAGE).int(), grid)
    assert row.positions.tolist() == expected[:, 0].tolist()
    assert row.next_position == len(row) + int(deltas)


@given(PIECES, PIECES, st.integers(1, 9), st.integers(1, 9))
def test_common_beginnings_have_common_positions(
    left: list[tuple[int, int, int]], right: list[tuple[int, int, int]], tail: int, other_tail: int
) -> None:
    numbers: dict[str, int] = {}
    one = encoded(left, tail, numbers)
    other = encoded([*left, *right], other_tail, numbers)
    length = len(one) - tail
    assert one.symbols[:length].tolist() == other.symbols[:length].tolist()
    assert one.positions[:, :length].tolist() == other.positions[:, :length].tolist()


def test_images_are_spread_out() -> None:
    row = PromptEncoder(TOKENIZER, IMAGE).row(
        [5, IMAGE, 6, IMAGE], ["a", "b"], {"a": (2, 3), "b": (1, 1)}, numbers := {"b": 0}
    )
    assert row.tokens.tolist() == [5, *[IMAGE] * 6, 6, IMAGE]
    assert row.symbols.tolist() == [5, *[-2] * 6, 6, -1]
    assert row.images == (("a", 1), ("b", 8))
    assert numbers == {"b": 0, "a": 1}
    assert np.array_equal(multimodal_positions([2]), [[0, 1]] * 3)
