"""A prompt for people: a query among its own demonstrations is said, and is not what is picked by default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from selector.errors import DataError
from sweep.plan.prompt import rendered_prompt
from sweep.runs.paths import SharedPaths
from sweep.storage.local import stored_at
from tests.sweep.items.builders import NewItem, write_items

IMAGES = (5, 5, 6, 5, 7, 8)  # items 0, 1 and 3 are about one image
NO_ANSWERS = 2


@pytest.fixture
def space(tmp_path: Path) -> Path:
    items = (
        NewItem(f"what {item}?", [] if item == NO_ANSWERS else ["red"] * 10, image, item, "none.png")
        for item, image in enumerate(IMAGES)
    )
    write_items(tmp_path / "items", items)
    file = tmp_path / "space.yaml"
    file.write_text(
        yaml.safe_dump({"name": "mine", "items": {"path": str(tmp_path / "items")}, "vlm": {"model": {"path": "demo"}}})
    )
    return file


def printed(space: Path, query: int, demonstrations: str | None = None) -> tuple[list[int], list[str]]:
    """Items whose images are shown, in order, and the lines after them."""
    lines = rendered_prompt(str(space), query, demonstrations, SharedPaths(stored_at(space.parent))).splitlines()
    shown = [match for line in lines if (match := re.match(r"image \d+: item (\d+)", line))]
    return [int(match[1]) for match in shown], lines[lines.index(shown[-1].string) + 1 :]


def test_a_query_shown_as_its_own_demonstration_is_said(space: Path) -> None:
    assert printed(space, 0, "0,1,4") == (
        [0, 1, 4, 0],
        [
            "note: demonstration 0 is the query itself, so its answer is shown before it is asked",
            "note: demonstration 1 shows the query's own image (5)",
        ],
    )
    assert printed(space, 0, "4") == ([4, 0], [])
    assert printed(space, 0, "") == ([0], [])


def test_demonstrations_of_other_images_are_picked_where_none_are_named(space: Path) -> None:
    assert printed(space, 0)[0] == [4, 5, 0] and "picked for you: 4, 5" in printed(space, 0)[1][0]
    assert printed(space, 4)[0] == [0, 1, 4]


def test_an_item_that_does_not_exist_is_refused(space: Path) -> None:
    for query, demonstrations in ((6, None), (6, ""), (0, "6"), (0, "-1")):
        with pytest.raises(DataError, match=r"item (6|-1) does not exist: items are numbered 0 to 5"):
            printed(space, query, demonstrations)
