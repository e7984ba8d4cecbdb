from __future__ import annotations

import hashlib
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from selector.errors import DataError
from sweep.items import ImageError, ItemsSettings, ItemTable, open_items
from sweep.items import images as images_module
from tests.sweep.items.builders import NewItem, images, new_items, official, write_items


def native(folder: Path, items: list[NewItem]) -> ItemTable:
    return open_items(ItemsSettings(path=write_items(folder, items)))


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        (["a"], "a"),
        (["a", "b", "b"], "b"),
        (["b", "a", "a", "b"], "b"),
        (["c", "a", "b", "b", "a"], "a"),
        (["Yes", "yes", "yes "], "Yes"),
    ],
)
def test_shown_answer(tmp_path, answers, shown):
    assert native(tmp_path, [replace(new_items()[0], answers=answers)]).shown_answer(0) == shown


def test_item_without_answers_cannot_be_shown(tmp_path):
    table = native(tmp_path, new_items())
    with pytest.raises(DataError, match=r"item 0 \(question 1000\) has no answers"):
        table.shown_answer(0)


def test_items_outside_of_the_table(tmp_path):
    table = native(tmp_path, new_items())
    with pytest.raises(IndexError):
        table.question(3)


# --- Fingerprint -----------------------------------------------------------------------------------------------------


def test_fingerprint_does_not_depend_on_places(tmp_path):
    items = new_items(100)
    prints = {native(tmp_path / name, items).fingerprint() for name in "ab"}
    prints.add(native(tmp_path / "paths", [replace(item, image="x.png") for item in items]).fingerprint())
    prints.add(pickle.loads(pickle.dumps(open_items(ItemsSettings(path=tmp_path / "a")))).fingerprint())
    prints.add(native(tmp_path / "c", [replace(item, question_id=5) for item in items]).fingerprint())
    assert len(prints) == 1


def test_fingerprint_sees_every_text_and_its_place(tmp_path):
    base = [replace(item, answers=["ab", "c"]) for item in new_items(2)]
    first, second = base
    variants = [
        base,
        [second, first],
        [replace(first, question="other?"), second],
        [replace(first, image_id=7), second],
        [replace(first, answers=["a", "bc"]), second],
        [replace(first, answers=["abc"]), second],
        [replace(first, answers=["ab", "c", "ab"]), replace(second, answers=["c"])],
        [replace(first, answers=["ab", "c", ""]), second],
        [first],
    ]
    assert len({native(tmp_path / str(n), items).fingerprint() for n, items in enumerate(variants)}) == len(variants)


# --- Journeys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda folder: official(folder), lambda folder: native(folder, new_items(70))])
def test_pickled_table_equals_itself(tmp_path, make):
    table = make(tmp_path)
    table.image_hash(0)
    again = pickle.loads(pickle.dumps(table))
    assert len(again) == len(table)
    for item in range(len(table)):
        assert again.question(item) == table.question(item)
        assert again.answers(item) == table.answers(item)
        assert again.image_bytes(item) == table.image_bytes(item)
        assert again.image_hash(item) == table.image_hash(item) == sha(table.image_bytes(item))
        assert again.image_label(item) == table.image_label(item)


def test_images_do_not_travel(tmp_path):
    table = native(tmp_path, [replace(item, image=os.urandom(20_000)) for item in new_items(100)])
    for item in range(100):
        table.image_hash(item)
    assert len(pickle.dumps(table)) < 20_000


def test_columns_travel_out_of_band(tmp_path):
    table = native(tmp_path, new_items(5000))
    buffers: list[pickle.PickleBuffer] = []
    inside = pickle.dumps(table, protocol=5, buffer_callback=buffers.append)
    assert len(inside) < 5000  # Ray keeps the buffers in shared memory
    assert pickle.loads(inside, buffers=buffers).fingerprint() == table.fingerprint()


def test_hundred_thousand_items_are_light(tmp_path):
    answers = [f"answer {number}" for number in range(10)]
    items = (
        NewItem(f"what is question number {number} about?", answers, number, number, f"pictures/{number}.png")
        for number in range(100_000)
    )
    file = write_items(tmp_path, items)
    started = time.process_time()
    table = open_items(ItemsSettings(path=file))
    assert time.process_time() - started < 3
    assert len(pickle.dumps(table)) < 40e6
    assert table.question(99_999) == "what is question number 99999 about?"
    assert table.images_missing() == 100_000


def test_error_survives_a_journey():
    error = pickle.loads(pickle.dumps(ImageError("a.jpg", "no such file")))
    assert (error.label, error.reason, str(error)) == ("a.jpg", "no such file", "a.jpg: no such file")
    assert isinstance(error, DataError)


# --- Images ----------------------------------------------------------------------------------------------------------


def test_every_odd_file_is_one_typed_failure(tmp_path):
    table = official(tmp_path, images=images(tmp_path / "images", ("49.jpg", "12.jpg")))
    path = tmp_path / "images" / "49.jpg"

    def reason() -> str:
        for ask in (table.image_bytes, table.image_hash):
            with pytest.raises(ImageError) as caught:
                ask(0)
        assert caught.value.label == str(path)
        return caught.value.reason

    path.write_bytes(b"")
    assert reason() == "the file is empty"
    path.unlink()
    assert reason() == "no such file"
    path.mkdir()
    assert reason() == "is a folder; expected a file"
    path.rmdir()
    os.mkfifo(path)
    assert reason() == "is not a regular file"
    path.unlink()
    path.symlink_to(path)
    assert reason().startswith("cannot be read (")
    assert table.image_bytes(2) == b"bytes of 12.jpg"


def test_huge_files_are_not_read(tmp_path, monkeypatch):
    table = official(tmp_path)
    monkeypatch.setattr(images_module, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(ImageError, match="bytes; images above 10 are not read"):
        table.image_bytes(0)


def test_hash_is_read_once_and_follows_changes(tmp_path, monkeypatch):
    table = official(tmp_path)
    path = Path(table.image_label(0))
    assert table.image_hash(0) == table.image_hash(1) == sha(path.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda self: pytest.fail("read again"))
        assert table.image_hash(1) == table.image_hash(0)
    path.write_bytes(b"other content")
    assert table.image_hash(0) == sha(b"other content")
    same_size = b"OTHER CONTENT"
    path.write_bytes(same_size)
    os.utime(path, ns=(1, 1))
    assert table.image_hash(0) == sha(same_size)


def test_row_groups_are_kept_and_let_go(tmp_path, monkeypatch):
    items = [replace(item, image=bytes([item.image_id % 256]) * 1000) for item in new_items(64 * 4)]
    table = native(tmp_path, items)
    monkeypatch.setattr(images_module, "CACHED_BYTES", 150_000)  # two groups of about 64 kB
    groups = table._images._groups  # type: ignore[attr-defined]
    for item in (0, 100, 1, 130, 200, 255, 0):
        assert table.image_bytes(item) == items[item].image
    assert list(groups) == [3, 0]
    monkeypatch.setattr(images_module, "CACHED_BYTES", 10)  # a single group is kept whatever its size
    assert table.image_bytes(70) == items[70].image
    assert list(groups) == [1]


def test_replaced_and_damaged_parquet_files(tmp_path):
    table = native(tmp_path, new_items(100))
    file = tmp_path / "items.parquet"
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(ImageError, match=r"row 3: cannot be read \(No such file"):
        table.image_bytes(3)
    write_items(tmp_path, new_items(130))
    with pytest.raises(ImageError, match=r"row 3: cannot be read \(the file has other row groups"):
        table.image_bytes(3)
    place = content.index(b"image 3") + 2
    file.write_bytes(content[:place] + b"X" + content[place + 1 :])
    with pytest.raises(ImageError, match=r"row 3: cannot be read \(.*CRC checksum"):
        table.image_bytes(3)
    file.write_bytes(content)
    assert table.image_bytes(3) == b"image 3"


@pytest.mark.parametrize("make", [lambda folder: official(folder), lambda folder: native(folder, new_items(300))])
def test_many_threads(tmp_path, make):
    table = make(tmp_path)
    wanted = [item % len(table) for item in range(0, 3000, 7)]
    expected = [sha(table.image_bytes(item)) for item in wanted]
    fresh = pickle.loads(pickle.dumps(table))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh.image_hash, wanted)) == expected
