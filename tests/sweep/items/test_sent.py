"""Images that travel: what other machines read, whether they have the same, and what is said where they do not."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sweep.items import ImageError, ItemsSettings, ItemTable, open_items
from sweep.items import sent as module
from sweep.items.sent import pack
from sweep.items.witness import difference, witness
from tests.sweep.items.builders import NewItem, images, official, write_items

STORE: dict[int, pa.Array] = {}
"""What holds chunks, as an object store does."""


def put(chunk: pa.Array) -> int:
    STORE[len(STORE)] = chunk
    return len(STORE) - 1


def fetch(number: int) -> pa.Array:
    return STORE[number]


@pytest.fixture(autouse=True)
def emptied() -> None:
    STORE.clear()


def travelled(table: ItemTable, most: int | None = None) -> ItemTable:
    """The table as another machine has it."""
    packed = pack(table, put, fetch, most)
    assert packed is not None
    for item in range(len(table)):
        assert packed.image_label(item) == table.image_label(item)
    found: ItemTable = pickle.loads(pickle.dumps(packed))
    return found


def all_bytes(table: ItemTable) -> list[bytes | str]:
    def read(item: int) -> bytes | str:
        try:
            return table.image_bytes(item)
        except ImageError as error:
            return str(error)

    return [read(item) for item in range(len(table))]


@pytest.mark.parametrize("chunk", [1, 40, 2**20])
def test_other_machines_read_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(module, "CACHED_CHUNKS", 1)
    table = official(tmp_path)
    there, expected = travelled(table), all_bytes(table)
    hashes = [table.image_hash(item) for item in range(len(table))]
    shutil.rmtree(tmp_path / "images")
    assert all_bytes(there) == expected and all_bytes(there)[::-1] == expected[::-1]
    assert [there.image_hash(item) for item in range(len(table))] == hashes
    assert there.fingerprint() == table.fingerprint() and there.images_missing() == 0
    assert sum(len(one) for one in STORE.values()) == 2, "two questions share an image, which travels once"


def test_images_in_a_table_travel_as_well(tmp_path: Path) -> None:
    rows = [NewItem(f"what {number}?", ["x"], number, number, f"image {number}".encode()) for number in range(100)]
    table = open_items(ItemsSettings(path=write_items(tmp_path, rows)))
    there = travelled(table)
    shutil.rmtree(tmp_path)
    assert all_bytes(there) == [f"image {number}".encode() for number in range(100)]


def test_an_image_that_is_missing_is_missing_there_for_the_same_reason(tmp_path: Path) -> None:
    table = official(tmp_path, images=images(tmp_path / "some", ("12.PNG",)))
    (tmp_path / "some/12.PNG").write_bytes(b"")
    there = travelled(table)
    (tmp_path / "some/12.PNG").write_bytes(b"mended")
    assert "no image file whose name ends in this id" in str(all_bytes(there)[0])
    assert str(all_bytes(there)[2]).endswith("12.PNG: the file is empty")
    assert there.images_missing() == 3


def test_more_than_is_allowed_is_not_sent(tmp_path: Path) -> None:
    table = official(tmp_path)
    total = sum(len(one) for one in {table.image_bytes(item) for item in range(len(table))})
    assert pack(table, put, fetch, total) is not None
    assert pack(table, put, fetch, total - 1) is None


# Whether another machine has the same ---------------------------------------------------------------------------------


def remade(folder: Path) -> None:
    (folder / "12.PNG").write_bytes(b"another image")


def lost(folder: Path) -> None:
    (folder / "12.PNG").unlink()


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def a_folder(folder: Path) -> None:
    lost(folder)
    (folder / "12.PNG").mkdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (remade, "12.PNG: another image than the driver's"),
        (lost, "12.PNG: no such file"),
        (gone, "COCO_train2014_000000000049.jpg: no such file"),
        (a_folder, "12.PNG: is a folder; expected a file"),
    ],
)
def test_what_a_machine_lacks_is_named(tmp_path: Path, change: Any, said: str) -> None:
    table = official(tmp_path)
    seen = witness(table)
    there = pickle.loads(pickle.dumps(table))
    assert difference(there, seen) is None
    change(tmp_path / "images")
    found = difference(there, seen)
    assert found is not None and found.endswith(said) and str(tmp_path / "images") in found


def test_images_that_are_not_in_the_sample_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"{number}.png" for number in range(200))
    asked = {"questions": [{"image_id": n, "question": "what?", "question_id": n} for n in range(200)]}
    table = official(tmp_path, asked, {"annotations": []}, images=images(tmp_path / "many", names))
    seen = witness(table)
    spared = next(item for item in range(200) if item not in seen.hashes)
    (tmp_path / f"many/{spared}.png").unlink()
    assert difference(table, seen) == "images of 1 items are missing, 0 on the driver's machine"


def test_what_the_driver_lacks_itself_is_no_difference(tmp_path: Path) -> None:
    table = official(tmp_path, images=images(tmp_path / "some", ("12.PNG",)))
    assert difference(table, witness(table)) is None
