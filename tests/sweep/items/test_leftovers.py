"""What other systems leave between the files: it is no image and no data, wherever files are listed."""

from __future__ import annotations

import json
from pathlib import Path

from selector.data.load import find_training_file
from sweep.items.folders import find_images
from tests.selector.data.builders import rl_data
from tests.sweep.items.builders import images, official

LEFT = ("._12.PNG", ".DS_Store", "Thumbs.db", "__MACOSX/12.PNG", ".Trashes/12.png", "desktop.ini")


def test_a_folder_packed_on_a_mac(tmp_path: Path) -> None:
    """Each image has a companion `._name`, which ends in the same image id."""
    folder = images(tmp_path / "pictures", ("COCO_train2014_000000000049.jpg", "12.PNG", *LEFT))
    table = official(tmp_path, images=folder)
    assert table.images_missing() == 0
    assert [table.image_bytes(item) for item in range(3)][2] == b"bytes of 12.PNG"
    assert [one.name for one in find_images([folder], [12])[12]] == ["12.PNG"]


def test_a_searched_folder_may_itself_be_hidden(tmp_path: Path) -> None:
    folder = images(tmp_path / ".cache" / "__MACOSX", ("12.PNG",))
    assert list(find_images([folder], [12])) == [12]


def test_training_data_from_a_mac(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(rl_data()))
    (tmp_path / "._data.json").write_bytes(b"\0\5\x16\7 Mac OS X")
    assert find_training_file(tmp_path).name == "data.json"
