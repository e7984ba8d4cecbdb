"""What the model reads for one work item, for people."""

from __future__ import annotations

from selector.errors import DataError
from sweep.errors import SpaceError
from sweep.plan.items import open_source
from sweep.runs.paths import SharedPaths
from sweep.settings.vlm import DEMO_MODEL
from sweep.space import find_space, parse_space
from sweep.vlm.engine.loading import load_tokenizer
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem


def rendered_prompt(argument: str, query: int, demonstrations: str, shared: SharedPaths) -> str:
    """The exact text, then its images in order.

    Args:
        argument: a space file or name, with sections `items` and `vlm`.
        query: item id.
        demonstrations: item ids separated by commas; may be empty.
        shared: where demo items are.

    Raises:
        SpaceError: the space lacks a section.
        DataError: an item does not exist, or has no answer to show.
    """
    space = parse_space(*find_space(argument))
    if space.vlm is None:
        raise SpaceError(f"space {space.name!r} has no section vlm: the model that answers")
    table = open_source(space, shared).table
    try:
        shown = tuple(int(part) for part in demonstrations.split(",")) if demonstrations.strip() else ()
    except ValueError:
        raise DataError(
            f"--demonstrations {demonstrations!r}: give item ids separated by commas, such as 17,4"
        ) from None
    for item in (*shown, query):
        if not 0 <= item < len(table):
            raise DataError(f"item {item} does not exist: items are numbered 0 to {len(table) - 1}")
    model = space.vlm.model
    renderer = PromptRenderer(space.vlm.prompt, load_tokenizer(model), foreign=model.path != DEMO_MODEL)
    prompt = renderer.render(WorkItem(query, shown), table)
    images = [f"image {place}: item {item}, {table.image_label(item)}" for place, item in enumerate(prompt.images, 1)]
    return "\n".join([prompt.text, "", *images])
