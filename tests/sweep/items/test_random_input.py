"""Whatever stands in the files, the door either opens or names the reason in one line."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selector.errors import DataError
from sweep.items import ImageError, ItemsSettings, open_items
from tests.sweep.items.builders import NewItem, annotations, images, new_items, official, questions, write_items

FAST = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEW = settings(FAST, max_examples=50)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**25) | st.just(49)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


def opens_or_explains(folder: Path, asked: object, answered: object) -> None:
    try:
        table = official(folder, asked, answered)
    except DataError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        for item in range(len(table)):
            assert table.question(item).strip()
            assert all(isinstance(answer, str) for answer in table.answers(item))
        assert len(table.fingerprint()) == 64


@FAST
@given(asked=st.binary(max_size=100) | VALUES, answered=st.binary(max_size=100) | VALUES)
def test_random_content(tmp_path, asked, answered):
    opens_or_explains(tmp_path, asked, None)
    opens_or_explains(tmp_path, None, answered)


@FAST
@given(entries=st.lists(st.dictionaries(st.sampled_from(["question_id", "image_id", "question"]), SCALARS), max_size=3))
def test_random_questions_without_annotations(tmp_path, entries):
    opens_or_explains(tmp_path, {"questions": entries}, {"annotations": []})


def paths_into(value: Any) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, inner in steps for path in [(key,), *((key, *rest) for rest in paths_into(inner))]]


BASES = {"questions": questions(), "annotations": annotations()}
PLACES = {name: paths_into(content) for name, content in BASES.items()}


@FAST
@given(data=st.data(), name=st.sampled_from(sorted(BASES)))
def test_one_random_value_anywhere(tmp_path, data, name):
    content = copy.deepcopy(BASES[name])
    *way, last = data.draw(st.sampled_from(PLACES[name]))
    target = content
    for step in way:
        target = target[step]
    target[last] = data.draw(VALUES)
    opens_or_explains(tmp_path, *((content, None) if name == "questions" else (None, content)))


@FEW
@given(data=st.data(), name=st.sampled_from(sorted(BASES)))
def test_every_truncation_is_refused_as_one(tmp_path, data, name):
    text = json.dumps(BASES[name]).encode()
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(DataError, match=r"truncated|empty"):
        official(tmp_path, *((cut, None) if name == "questions" else (None, cut)))


@FEW
@given(names=st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=12)))
def test_random_names_in_image_folders(names):
    with tempfile.TemporaryDirectory() as folder:
        kept = tuple(name for name in names if name not in (".", "..") and len(name.encode()) < 200)
        table = official(Path(folder), images=images(Path(folder) / "images", (*kept, "49.jpg", "12.jpg")))
        assert table.image_bytes(2) == b"bytes of 12.jpg"


@FEW
@given(data=st.data(), as_paths=st.booleans())
def test_truncated_items(data, as_paths):
    with tempfile.TemporaryDirectory() as folder:
        file = write_items(Path(folder), new_items(3, as_paths=as_paths))
        content = file.read_bytes()
        file.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(DataError, match="damaged or not Parquet"):
            open_items(ItemsSettings(path=file))


@FEW
@given(content=st.binary(max_size=300))
def test_random_bytes_as_items(content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.parquet"
        file.write_bytes(content)
        with pytest.raises(DataError, match="damaged or not Parquet"):
            open_items(ItemsSettings(path=file))


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
ITEMS = st.builds(
    NewItem,
    question=TEXTS.filter(str.strip),
    answers=st.lists(TEXTS, max_size=12),
    image_id=INTEGERS,
    question_id=INTEGERS,
    image=st.binary(min_size=1, max_size=50),
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
