"""The demo data: which items there are, what their right answers are, and which candidates each query may choose from.

Item ids 0..demonstrations-1 are demonstrations, those above are queries. Every query has an image of its own, so no
query shares an image with a candidate or with another query.

A pool looks like what retrieval brings up. Few of its candidates tell the answer. For names and makers these are one or
two of the same concept and kind, sometimes none. For codes some share the colour and some share the shape, so that two
different ones complement each other. Seldom one has both. Other candidates look like the query but ask something else,
or ask the same about something that only looks alike. The rest is drawn at random.

Letters: M items, Q queries, C concepts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selector.arrays import BoolArray, Int8Array, Int64Array
from selector.seeds import random_stream
from sweep.demo.concepts import (
    COLOURS,
    QUESTIONS,
    SHAPES,
    SYLLABLES,
    TEXTURES,
    Kind,
    concept_id,
    concept_parts,
)
from sweep.demo.drawing import ByteArray, draw
from sweep.settings.demo import CONCEPTS, WorldSettings

ANNOTATORS = 10
KIND_SHARES = (0.30, 0.25, 0.29, 0.08, 0.08)
MISTAKES = (0.4, 0.2, 0.2, 0.2)  # shares of items with 0, 1, 2, 3 annotators who mistook the object
_LOOK_ALIKE_SHAPE = (6, 3, 3, 1, 5, 4, 0, 6)  # per shape the one it is mistaken for
_STREAMS = {"lexicon": 1, "items": 2, "images": 3, "annotators": 4, "pools": 5}


@dataclass(frozen=True)
class Lexicon:
    """The nonce words of one data set: two syllables per concept for names and makers, one per colour and per shape."""

    names: tuple[str, ...]
    makers: tuple[str, ...]
    colour_codes: tuple[str, ...]
    shape_codes: tuple[str, ...]

    def answer(self, concept: int, kind: Kind) -> str:
        """The right answer to a question of a kind about a concept."""
        shape, colour, _ = (int(part[0]) for part in concept_parts(np.array([concept])))
        if kind is Kind.NAME:
            return self.names[concept]
        if kind is Kind.MAKER:
            return self.makers[concept]
        if kind is Kind.CODE:
            return self.colour_codes[colour] + self.shape_codes[shape]
        return COLOURS[colour] if kind is Kind.COLOUR else SHAPES[shape]


@dataclass(frozen=True)
class World:
    """A demo data set in memory.

    Attributes:
        concept: int64 [M], what each item's image shows. Hidden: no feature is made from it.
        kind: int64 [M], values of `Kind`. Hidden as well.
        image: int64 [M], number of each item's image.
        images: uint8 [images, 28, 28, 3].
        questions: per item.
        answers: per item what ten annotators say.
        pools: per query item ids of its candidates.
        split: int8 [Q], 0 train, 1 val, 2 test.
    """

    settings: WorldSettings
    lexicon: Lexicon
    concept: Int64Array
    kind: Int64Array
    image: Int64Array
    images: ByteArray
    questions: tuple[str, ...]
    answers: tuple[tuple[str, ...], ...]
    pools: tuple[Int64Array, ...]
    split: Int8Array

    @property
    def query_items(self) -> Int64Array:
        """Item ids of the queries, int64 [Q], ascending."""
        return np.arange(self.settings.demonstrations, self.settings.items)


def make_world(settings: WorldSettings) -> World:
    """The data set of some settings."""
    rng = {name: random_stream(settings.seed, stream) for name, stream in _STREAMS.items()}
    lexicon = _lexicon(rng["lexicon"])
    concept, kind, image = _items(settings, rng["items"])
    shown = np.zeros(int(image.max()) + 1, dtype=np.int64)
    shown[image] = concept
    wordings = [QUESTIONS[Kind(number)] for number in kind.tolist()]
    picked = rng["items"].random(len(kind))
    return World(
        settings=settings,
        lexicon=lexicon,
        concept=concept,
        kind=kind,
        image=image,
        images=draw(shown, rng["images"]),
        questions=tuple(texts[int(part * len(texts))] for texts, part in zip(wordings, picked, strict=True)),
        answers=tuple(
            _annotators(int(c), Kind(int(k)), lexicon, rng["annotators"]) for c, k in zip(concept, kind, strict=True)
        ),
        pools=_pools(settings, concept, kind, rng["pools"]),
        split=np.repeat(np.arange(3, dtype=np.int8), [settings.train, settings.val, settings.test]),
    )


def _lexicon(rng: np.random.Generator) -> Lexicon:
    words = rng.permutation([first + second for first in SYLLABLES for second in SYLLABLES]).tolist()
    codes = rng.permutation(np.array(SYLLABLES)).tolist()
    return Lexicon(
        names=tuple(words[:CONCEPTS]),
        makers=tuple(words[CONCEPTS : 2 * CONCEPTS]),
        colour_codes=tuple(codes[: len(COLOURS)]),
        shape_codes=tuple(codes[len(COLOURS) : len(COLOURS) + len(SHAPES)]),
    )


def _items(settings: WorldSettings, rng: np.random.Generator) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Concept, kind and image number of every item. Some concepts are twice as common as others."""
    occurring = rng.permutation(CONCEPTS)[: settings.concepts]
    shares = rng.uniform(1, 2, size=len(occurring))
    concept = rng.choice(occurring, size=settings.items, p=shares / shares.sum()).astype(np.int64)
    kind = rng.choice(len(Kind), size=settings.items, p=KIND_SHARES).astype(np.int64)
    again = rng.random(settings.items) < settings.shared_images
    again[0] = False
    again[settings.demonstrations :] = False
    again[len(Kind) - 1 :: len(Kind)] = False  # one image has fewer questions than there are kinds
    for item in np.flatnonzero(again):
        concept[item] = concept[item - 1]
    image = np.cumsum(~again) - 1
    for item in np.flatnonzero(again):  # nobody asks the same twice about one image
        asked = kind[:item][image[:item] == image[item]]
        if kind[item] in asked:
            kind[item] = rng.choice(np.setdiff1d(np.arange(len(Kind)), asked))
    return concept, kind, image


def _annotators(concept: int, kind: Kind, lexicon: Lexicon, rng: np.random.Generator) -> tuple[str, ...]:
    """Ten answers, seven at least right. The others come from a person who took the object for one that looks alike."""
    shape, colour, texture = (int(part[0]) for part in concept_parts(np.array([concept])))
    if kind in (Kind.NAME, Kind.MAKER):
        texture = (texture + int(rng.integers(1, len(TEXTURES)))) % len(TEXTURES)
    elif kind is Kind.SHAPE or (kind is Kind.CODE and rng.random() < 0.5):
        shape = _LOOK_ALIKE_SHAPE[shape]
    else:
        colour = (colour + int(rng.choice([-1, 1]))) % len(COLOURS)
    mistaken = int(concept_id(np.array(shape), np.array(colour), np.array(texture)))
    wrong = int(rng.choice(len(MISTAKES), p=MISTAKES))
    said = [lexicon.answer(concept, kind)] * (ANNOTATORS - wrong) + [lexicon.answer(mistaken, kind)] * wrong
    return tuple(said[place] for place in rng.permutation(ANNOTATORS))


# --- Pools -----------------------------------------------------------------------------------------------------------


def _pools(
    settings: WorldSettings, concept: Int64Array, kind: Int64Array, rng: np.random.Generator
) -> tuple[Int64Array, ...]:
    demos = settings.demonstrations
    return tuple(
        _pool(settings, _Relations.of(concept[:demos], kind[:demos], int(concept[query]), Kind(int(kind[query]))), rng)
        for query in range(demos, settings.items)
    )


@dataclass(frozen=True)
class _Relations:
    """How each demonstration relates to one query, bool [demonstrations] each."""

    asked: Kind
    same_kind: BoolArray
    same_shape: BoolArray
    same_colour: BoolArray
    same_concept: BoolArray
    alike: BoolArray  # two of the three attributes

    @classmethod
    def of(cls, concept: Int64Array, kind: Int64Array, query: int, asked: Kind) -> _Relations:
        same = [mine == own for mine, own in zip(concept_parts(concept), concept_parts(np.array([query])), strict=True)]
        shared = np.sum(same, axis=0)
        return cls(asked, kind == asked, same[0], same[1], shared == len(same), shared == 2)

    def tells(self) -> BoolArray:
        """Which demonstrations give the whole answer away on their own."""
        right = self.same_shape & self.same_colour if self.asked is Kind.CODE else self.same_concept
        return self.same_kind & right


def _pool(settings: WorldSettings, relations: _Relations, rng: np.random.Generator) -> Int64Array:
    size = int(rng.integers(settings.smallest_pool, settings.largest_pool + 1))
    tells = relations.tells()
    chosen: list[int] = []

    def take(mask: BoolArray, lowest: int, highest: int) -> None:
        free = np.setdiff1d(np.flatnonzero(mask), chosen)
        wanted = int(rng.integers(lowest, highest + 1))
        chosen.extend(rng.choice(free, size=min(wanted, len(free)), replace=False).tolist())

    if relations.asked is Kind.CODE:
        take(tells, 0, 1 if rng.random() < 0.3 else 0)
        take(relations.same_kind & relations.same_colour & ~tells, 2, 3)
        take(relations.same_kind & relations.same_shape & ~tells, 2, 3)
    elif rng.random() >= settings.hopeless:
        take(tells, 1, 2)
    take(relations.same_concept & ~relations.same_kind, 3, 6)
    take(relations.alike & relations.same_kind & ~tells, 3, 6)
    take(relations.alike & ~relations.same_kind, 2, 4)
    filler = max(0, size - len(chosen))
    take(~tells, filler, filler)
    return rng.permutation(np.array(chosen[:size], dtype=np.int64))  # a small pool does without look-alikes
