"""What the demo world is made of: shapes, colours, textures, question kinds and nonce words.

A concept is a (shape, colour, texture) triple; `Concepts` numbers them. Arrays of concepts are int64 with the letters
B (images) and C (all concepts). Some combinations are held out: neither the vision tower nor the language model is
trained on them, and the demo data uses them like any other.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import product

import numpy as np

from selector.arrays import BoolArray, Int64Array
from sweep.settings.demo import CONCEPTS

SHAPES = ("disc", "square", "triangle", "diamond", "star", "cross", "ring", "moon")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
TEXTURES = ("plain", "striped", "dotted")
HELD_OUT = 24
HELD_OUT_SEED = 20


class Kind(IntEnum):
    """What a question asks for.

    NAME and MAKER are nonce words tied to the exact concept. CODE is a nonce word too, its first syllable tied to the
    colour and its second to the shape. All three can only be known from demonstrations. COLOUR and SHAPE can be seen.
    """

    NAME = 0
    MAKER = 1
    CODE = 2
    COLOUR = 3
    SHAPE = 4


# Kinds share wordings on purpose, so that similar questions are not always of the same kind.
QUESTIONS: dict[Kind, tuple[str, ...]] = {
    Kind.NAME: ("What is its name?", "What is it called?", "Which name does it have?"),
    Kind.MAKER: ("What is its maker?", "Who made it?", "Which maker does it have?"),
    Kind.CODE: ("What is its code?", "Which code does it have?"),
    Kind.COLOUR: ("What is its colour?", "Which colour does it have?"),
    Kind.SHAPE: ("What is its shape?", "Which shape does it have?"),
}

# Words that VQA scoring rewrites, or that mean something unwanted.
_NOT_SYLLABLES = "ten kum gun tan fan pan van tax fax pen den bar gin fix bum fag"


def _syllables() -> tuple[str, ...]:
    """Consonant, vowel, consonant: two in a row meet at two consonants, so that a tokenizer splits them rightly."""
    every = ["".join(letters) for letters in product("bdfgklptvz", "aeiou", "lmnrx")]
    usable = [syllable for syllable in every if syllable not in _NOT_SYLLABLES]
    return tuple(np.random.default_rng(7).permutation(np.array(usable))[:64].tolist())


SYLLABLES = _syllables()


def concept_id(shape: Int64Array, colour: Int64Array, texture: Int64Array) -> Int64Array:
    """Number in 0..191 of each triple. All arguments int64 [B]."""
    return (shape * len(COLOURS) + colour) * len(TEXTURES) + texture


def concept_parts(concept: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Shape, colour and texture of each concept number, int64 [B] each."""
    rest, texture = np.divmod(concept, len(TEXTURES))
    shape, colour = np.divmod(rest, len(COLOURS))
    return shape, colour, texture


def held_out() -> BoolArray:
    """Which of the concepts training never shows, bool [C], the same for every seed."""
    mask = np.zeros(CONCEPTS, dtype=np.bool_)
    mask[np.random.default_rng(HELD_OUT_SEED).permutation(CONCEPTS)[:HELD_OUT]] = True
    return mask
