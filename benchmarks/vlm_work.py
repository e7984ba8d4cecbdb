"""The prompts of an evaluation: rows of demonstrations for each question, and the items they are made of."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from PIL import Image

from sweep.demo.store import png
from sweep.demo.world import make_world
from sweep.settings.demo import WorldSettings
from sweep.vlm.work import WorkItem

ROWS, SHOTS = 10, (1, 2, 3, 4)


class Table:
    """Items in memory: a question, an answer and an encoded image each."""

    def __init__(
        self, questions: Sequence[str], all_answers: Sequence[tuple[str, ...]], images: Sequence[bytes]
    ) -> None:
        self.questions, self.all_answers, self.images = questions, all_answers, images
        self.hashes = [sha256(image).hexdigest() for image in images]

    def question(self, item: int) -> str:
        """The question's text."""
        return self.questions[item]

    def answers(self, item: int) -> tuple[str, ...]:
        """The annotators' answers."""
        return self.all_answers[item]

    def shown_answer(self, item: int) -> str:
        """The first of them."""
        return self.all_answers[item][0]

    def image_label(self, item: int) -> str:
        """Its number."""
        return str(item)

    def image_bytes(self, item: int) -> bytes:
        """The encoded image."""
        return self.images[item]

    def image_hash(self, item: int) -> str:
        """Of the encoded image."""
        return self.hashes[item]


def photographs(count: int, size: tuple[int, int], spread: int = 0) -> Table:
    """Items with JPEG images, photograph-like in that neighbouring pixels are alike; questions as long as usual ones.

    Args:
        count: of items.
        size: height and width of the first image.
        spread: images are of up to so many sizes more, each a token (28 pixels) wider than the one before.
    """
    rng = np.random.default_rng(0)
    images = []
    for item in range(count):
        height, width = size[0], size[1] + 28 * (item % (spread + 1))
        coarse = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        images.append(buffer.getvalue())
    questions = [f"What kind of animal is shown next to object number {item}?" for item in range(count)]
    return Table(questions, [(f"green {item}",) for item in range(count)], images)


def demo_items(count: int) -> Table:
    """Items of the demo world, which the demo model was trained for."""
    world = make_world(WorldSettings())
    images = [png(world.images[number]) for number in world.image[:count].tolist()]
    return Table(world.questions[:count], world.answers[:count], images)


def work(queries: int, items: int) -> list[WorkItem]:
    """Ten rows of demonstrations per query, five of them different, 1 to 4 shots each."""
    rng = random.Random(0)
    found = []
    for query in range(queries):
        selections = [tuple(rng.sample(range(queries, items), max(SHOTS))) for _ in range(ROWS // 2)] * 2
        found += [WorkItem(query, selection[:shots]) for selection in selections for shots in SHOTS]
    return found


def different(items: Sequence[WorkItem]) -> list[WorkItem]:
    """Each item once, in the order of their first appearance."""
    return list(dict.fromkeys(items))
