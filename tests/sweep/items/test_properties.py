"""What holds for any item, any file name and any cut. Damaged files of all kinds are made by `tests/fuzz`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import DataError
from sweep.items import ImageError, ItemsSettings, open_items
from tests.sweep.items.builders import NewItem, annotations, images, official, questions, write_items

FEW = settings(max_examples=50, deadline=None)
BASES = {"asked": questions(), "answered": annotations()}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
ITEMS = st.builds(
    NewItem,
    question=TEXTS.filter(str.strip),
    answers=st.lists(TEXTS, max_size=12),
    image_id=INTEGERS,
    question_id=INTEGERS,
    image=st.binary(min_size=1, max_size=50).filter(lambda content: not content.startswith(b"version https://git-lfs")),
    question_type=st.none() | TEXTS,
    answer_type=st.none() | TEXTS,
)


@FEW
@given(items=st.lists(ITEMS, min_size=1, max_size=5))
def test_any_item_passes_unchanged(items):
    with tempfile.TemporaryDirectory() as folder:
        table = open_items(ItemsSettings(path=write_items(Path(folder), items)))
        for number, item in enumerate(items):
            assert table.question(number) == item.question
            assert table.answers(number) == tuple(item.answers)
            assert (table.image_id(number), table.question_id(number)) == (item.image_id, item.question_id)
            assert (table.question_type(number), table.answer_type(number)) == (item.question_type, item.answer_type)
            assert table.image_bytes(number) == item.image


@FEW
@given(data=st.data(), name=st.sampled_from(sorted(BASES)))
def test_every_truncation_is_refused_as_one(data, name):
    text = json.dumps(BASES[name]).encode()
    with tempfile.TemporaryDirectory() as folder, pytest.raises(DataError, match=r"truncated|empty"):
        official(Path(folder), **{name: text[: data.draw(st.integers(0, len(text) - 1))]})


@FEW
@given(names=st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12)))
def test_any_names_in_image_folders(names):
    with tempfile.TemporaryDirectory() as folder:
        kept = tuple(name for name in names if name not in (".", "..") and len(name.encode()) < 200)
        table = official(Path(folder), images=images(Path(folder) / "images", (*kept, "49.jpg", "12.jpg")))
        assert table.image_bytes(2) == b"bytes of 12.jpg"


@FEW
@given(data=st.data())
def test_damage_to_stored_images_never_goes_unnoticed(data):
    with tempfile.TemporaryDirectory() as folder:
        size = 5000  # longer than what Parquet repeats as the smallest value of a page
        items = [NewItem("q?", ["a"], n, n, bytes([65 + n]) * size) for n in range(3)]
        file = write_items(Path(folder), items)
        content = bytearray(file.read_bytes())
        start = content.index(b"A" * size)
        content[start + data.draw(st.integers(0, size - 1))] ^= data.draw(st.integers(1, 255))
        file.write_bytes(bytes(content))
        table = open_items(ItemsSettings(path=file))
        with pytest.raises(ImageError, match="CRC checksum"):
            table.image_bytes(0)
