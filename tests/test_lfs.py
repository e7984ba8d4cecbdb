"""A pointer of Git LFS in the place of any file that is read: its reader says so, in one line with the path."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from selector.data import DataSettings, load
from selector.data.native import BEAMS, MANIFEST
from selector.errors import UserError
from selector.files import LFS_PROBLEM
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from sweep.items import ItemsSettings, open_items
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.space import find_space
from sweep.storage.local import stored_at
from sweep.study.storage import open_storage
from tests.fuzz.builders import make_forms, make_selector
from tests.sweep.items.builders import NewItem, images, official, write_items

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"

READERS: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "JSON of training data": ("rl/rl_data.json", lambda root, file: load(DataSettings(path=file))),
    "embeddings beside it": ("rl/embeddings.pth", lambda root, file: load(DataSettings(path=file.parent))),
    "npy": ("table.npy", lambda root, file: load(DataSettings(path=root / "rl" / "rl_data.json", embeddings=file))),
    "Parquet": (f"native/{BEAMS}", lambda root, file: load(DataSettings(path=file.parent))),
    "manifest": (f"native/{MANIFEST}", lambda root, file: load(DataSettings(path=file.parent))),
    "items": ("items/items.parquet", lambda root, file: open_items(ItemsSettings(path=file))),
    "weights": (f"selector/{WEIGHTS_FILE}", lambda root, file: PointerSelector.from_pretrained(file.parent)),
    "configuration": (f"selector/{CONFIG_FILE}", lambda root, file: PointerSelector.from_pretrained(file.parent)),
    "space": ("space.yaml", lambda root, file: find_space(str(file))),
    "record of a run": ("run/run.json", lambda root, file: read_record(RunPaths(stored_at(file.parent)))),
    "study": ("run/study.db", lambda root, file: open_storage(f"sqlite:///{file}")),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_forms(tmp_path_factory.mktemp("good"))
    make_selector(folder)
    return folder


@pytest.mark.parametrize("what", READERS)
def test_every_reader_says_what_it_found(good: Path, tmp_path: Path, what: str) -> None:
    name, read = READERS[what]
    root = Path(shutil.copytree(good, tmp_path / "copy"))
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(POINTER)
    with pytest.raises(UserError) as caught:
        read(root, root / name)
    assert str(caught.value) == f"{root / name}: {LFS_PROBLEM}"


def test_several_files_of_which_none_is_there(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_bytes(POINTER)
    with pytest.raises(UserError, match=r"a\.json: is a Git LFS pointer"):
        load(DataSettings(path=tmp_path))


def test_an_image(tmp_path: Path) -> None:
    folder = images(tmp_path / "images")
    (folder / "12.PNG").write_bytes(POINTER)
    table = official(tmp_path, images=folder)
    with pytest.raises(UserError, match=r"12\.PNG: is a Git LFS pointer"):
        table.image_bytes(2)


def test_an_image_in_a_table(tmp_path: Path) -> None:
    """Whoever packed the images had not fetched them."""
    file = write_items(tmp_path, [NewItem("q?", ["a"], 1, 1, POINTER)])
    with pytest.raises(UserError, match=r"row 0: is a Git LFS pointer"):
        open_items(ItemsSettings(path=file)).image_bytes(0)
