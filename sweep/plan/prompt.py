"""What the model reads for one work item, for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from selector.errors import DataError
from sweep.errors import SpaceError
from sweep.items import ItemTable
from sweep.plan.items import open_source
from sweep.runs.paths import SharedPaths
from sweep.settings.vlm import DEMO_MODEL
from sweep.space import find_space, parse_space
from sweep.vlm.engine.loading import load_tokenizer
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem

PICKED = 2
"""Demonstrations that are picked where none are named."""


def rendered_prompt(argument: str, query: int, demonstrations: str | None, shared: SharedPaths) -> str:
    """The exact text, then its images in order, then what is odd about the demonstrations.

    Args:
        argument: a space file or name, with sections `items` and `vlm`.
        query: item id.
        demonstrations: item ids separated by commas; may be empty. None: the first ones that have answers and other
            images than the query.
        shared: where demo items are.

    Raises:
        SpaceError: the space lacks a section.
        DataError: an item does not exist, or has no answer to show.
    """
    space = parse_space(*find_space(argument))
    if space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section vlm: the model that answers")
    table = open_source(space, shared).table
    shown = () if demonstrations is None else _item_ids(demonstrations)
    for item in (*shown, query):
        if not 0 <= item < len(table):
            raise DataError(f"item {item} does not exist: items are numbered 0 to {len(table) - 1}")
    notes = list(_notes(table, query, shown))
    if demonstrations is None:
        shown = _picked(table, query)
        named = ", ".join(map(str, shown)) or "none"
        notes.append(f"picked for you: {named} (--demonstrations names others, or none with an empty text)")
    model = space.vlm.model
    renderer = PromptRenderer(space.vlm.prompt, load_tokenizer(model), foreign=model.path != DEMO_MODEL)
    prompt = renderer.render(WorkItem(query, shown), table)
    images = [f"image {place}: item {item}, {table.image_label(item)}" for place, item in enumerate(prompt.images, 1)]
    return "\n".join([prompt.text, "", *images, *notes])


def _item_ids(demonstrations: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in demonstrations.split(",")) if demonstrations.strip() else ()
    except ValueError:
        raise DataError(
            f"--demonstrations {demonstrations!r}: give item ids separated by commas, such as 17,4"
        ) from None


def _picked(table: ItemTable, query: int) -> tuple[int, ...]:
    """The first items that may be shown before this query."""
    image = table.image_id(query)
    usable = (item for item in range(len(table)) if table.image_id(item) != image and table.answers(item))
    return tuple(islice(usable, PICKED))


def _notes(table: ItemTable, query: int, shown: tuple[int, ...]) -> Iterator[str]:
    """Demonstrations that no run would show: they give the answer away, or show the image that is asked about."""
    for item in dict.fromkeys(shown):
        if item == query:
            yield f"note: demonstration {item} is the query itself, so its answer is shown before it is asked"
        elif table.image_id(item) == table.image_id(query):
            yield f"note: demonstration {item} shows the query's own image ({table.image_id(item)})"
