"""Training prompts: a few demonstrations and a query, with nonce words drawn afresh for every prompt.

Nothing can be learned by heart. What a thing is called, who made it and its code hold for one prompt only. The model
must look them up in the demonstrations. Each answer token carries a weight: 1 where the prompt so far determines it,
`GUESS` where it does not, so that the model still learns what such an answer looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sweep.demo.concepts import (
    COLOURS,
    QUESTIONS,
    SHAPES,
    SYLLABLES,
    TEXTURES,
    Kind,
    concept_id,
    concept_parts,
    held_out,
)

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

GUESS = 0.02
SYSTEM = "Answer the question about the last image with a short answer."
END = "<|im_end|>\n"
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
MATCHING = (Kind.NAME, Kind.MAKER, Kind.CODE)


@dataclass(frozen=True, slots=True)
class Turn:
    """One demonstration or the query: concept number, kind, wording of the question."""

    concept: int
    kind: Kind
    wording: int


@dataclass(frozen=True, slots=True)
class Phase:
    """What the prompts of one part of the curriculum look like.

    Attributes:
        turns: smallest and largest number of turns, the query included.
        mixed: share of prompts that mix kinds and concepts as a pool does. The others are `matching`.
        kinds: whether the matching prompts of two concepts may differ in kind.
        concepts: number of concepts in a matching prompt. 1 is pure copying.
        variants: share of prompts in the layouts that are not the usual one.
    """

    turns: tuple[int, int]
    mixed: float
    concepts: int
    variants: float = 0.0


@dataclass(frozen=True, slots=True)
class Episode:
    """A prompt with its answer: token ids, the weight of each as a target, and what the marks stand for.

    Attributes:
        tokens: the whole text.
        weights: of each token as a prediction from those before it. It is 0 for all but answers.
        images: concept number of each image, in the order of the text.
        answers: per turn the place of the token from which its answer's first token is predicted.
        kinds: per turn the kind asked for.
        lookups: per answer part that earlier turns determine, the place it is predicted from and the places of the
            tokens, in those turns, that say it.
    """

    tokens: list[int]
    weights: list[float]
    images: list[int]
    answers: list[int]
    kinds: list[int]
    lookups: list[tuple[int, list[int]]]


class Words:
    """The nonce words of one prompt: drawn when first asked for."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._drawn: dict[tuple[int, ...], str] = {}

    def answer(self, turn: Turn) -> list[str]:
        """The answer in its parts: two syllables, or one plain word."""
        shape, colour, _ = parts_of(turn.concept)
        if turn.kind is Kind.COLOUR:
            return [COLOURS[colour]]
        if turn.kind is Kind.SHAPE:
            return [SHAPES[shape]]
        if turn.kind is Kind.CODE:
            return [self._syllable(0, colour), self._syllable(1, shape)]
        return [self._syllable(2, turn.kind, turn.concept), self._syllable(3, turn.kind, turn.concept)]

    def _syllable(self, *key: int) -> str:
        if key not in self._drawn:
            self._drawn[key] = SYLLABLES[int(self._rng.integers(len(SYLLABLES)))]
        return self._drawn[key]


@cache
def parts_of(concept: int) -> tuple[int, int, int]:
    """Shape, colour and texture of one concept."""
    shape, colour, texture = concept_parts(np.array([concept]))
    return int(shape[0]), int(colour[0]), int(texture[0])


class Episodes:
    """Draws training prompts and turns them into tokens."""

    def __init__(self, tokenizer: Qwen2Tokenizer, rng: np.random.Generator) -> None:
        self._tokenizer = tokenizer
        self._rng = rng
        self._hidden = held_out()
        self._seen = np.flatnonzero(~self._hidden)
        self._cache: dict[str, list[int]] = {}

    def batch(self, phase: Phase, sizes: Mapping[int, int]) -> list[Episode]:
        """Prompts of equally many turns, so that little is padded. `sizes`: how many prompts, by number of turns."""
        turns = int(self._rng.integers(phase.turns[0], phase.turns[1] + 1))
        return [self._draw(phase, turns) for _ in range(sizes[turns])]

    def _draw(self, phase: Phase, turns: int) -> Episode:
        mixed = self._rng.random() < phase.mixed
        chosen = self._mixed(turns) if mixed else self._matching(turns, phase.concepts)
        variant = int(self._rng.integers(1, 4)) if self._rng.random() < phase.variants else 0
        return self.episode(chosen, Words(self._rng), variant)

    # --- Which turns -------------------------------------------------------------------------------------------------

    def _matching(self, turns: int, concepts: int) -> list[Turn]:
        """Few concepts, one kind, the query among those shown."""
        kind = MATCHING[int(self._rng.integers(len(MATCHING)))]
        pool = self._rng.choice(self._seen, size=concepts, replace=False)
        order = self._rng.permutation(np.resize(np.arange(concepts), turns - 1))
        query = int(self._rng.choice(order)) if turns > 1 else 0
        return [self._turn(int(pool[place]), kind) for place in (*order, query)]

    def _mixed(self, turns: int) -> list[Turn]:
        """A query and demonstrations related to it in all the ways that a pool holds, in any order."""
        rng = self._rng
        kind = Kind(int(rng.choice(5, p=[0.3, 0.25, 0.29, 0.08, 0.08])))
        query = int(rng.choice(self._seen))
        shots = turns - 1
        demos: list[Turn] = []
        if kind in MATCHING and shots and rng.random() < 0.8:
            demos += self._helpful(query, kind, shots)
        while len(demos) < shots:
            demos.append(self._distractor(query, kind))
        order = rng.permutation(len(demos))
        return [*(demos[place] for place in order), self._turn(query, kind)]

    def _helpful(self, query: int, kind: Kind, shots: int) -> list[Turn]:
        if kind is not Kind.CODE or self._rng.random() < 0.3:
            return [self._turn(query, kind)]
        pair = [self._like(query, colour=True), self._like(query, shape=True)]
        first = int(self._rng.integers(2))
        return [self._turn(concept, kind) for concept in (pair[first], pair[1 - first])[:shots]]

    def _distractor(self, query: int, kind: Kind) -> Turn:
        rng = self._rng
        draw = rng.random()
        other = Kind(int(rng.choice(5, p=[0.3, 0.25, 0.25, 0.1, 0.1])))
        if draw < 0.25:
            return self._turn(query, other if other is not kind else MATCHING[int(rng.integers(3))])
        if draw < 0.55:
            keep = rng.integers(3)  # one attribute differs
            near = self._like(query, shape=keep != 0, colour=keep != 1, texture=keep != 2)
            return self._turn(near, kind)
        return self._turn(int(rng.choice(self._seen)), kind if draw < 0.8 else other)

    def _like(self, concept: int, *, shape: bool = False, colour: bool = False, texture: bool = False) -> int:
        """A training concept that shares the named attributes. The others are drawn."""
        own = parts_of(concept)
        for _ in range(50):
            drawn = [int(self._rng.integers(n)) for n in (len(SHAPES), len(COLOURS), len(TEXTURES))]
            kept = [o if keep else d for o, d, keep in zip(own, drawn, (shape, colour, texture), strict=True)]
            found = int(concept_id(*(np.array(value) for value in kept)))
            if not self._hidden[found] and found != concept:
                return found
        return concept

    def _turn(self, concept: int, kind: Kind) -> Turn:
        return Turn(concept, kind, int(self._rng.integers(len(QUESTIONS[kind]))))

    # --- Text --------------------------------------------------------------------------------------------------------

    def episode(self, turns: list[Turn], words: Words, variant: int = 0) -> Episode:
        """The tokens of a prompt and its answer.

        Args:
            turns: demonstrations, then the query.
            words: where nonce words come from.
            variant: where demonstrations and their count stand. 0: a turn per demonstration, the count last. 1: all
                demonstrations in one turn, the count last. 2: a turn each, the count first. 3: one turn, the count
                first.
        """
        build = _Builder(self._encode)
        shots = len(turns) - 1
        named = f"{shots or 'no'} demonstration{'' if shots == 1 else 's'}"
        one_turn, first = variant in (1, 3), variant in (2, 3)
        build.add(f"<|im_start|>system\n{SYSTEM}" + (f" You are shown {named} first." if first else "") + END)
        if one_turn and (shots or first):
            build.add("<|im_start|>user\n")
        for place, turn in enumerate(turns):
            last = place == shots
            if last and not first:
                build.add(END if one_turn and shots else "")
                build.add(f"<|im_start|>system\nYou have seen {named}." + END)
            if not one_turn or (last and not first):
                build.add("<|im_start|>user\n")
            sources = _sources(turns[:place], turn)
            known = [GUESS if found == [] else 1.0 for found in sources]
            answer = list(zip(words.answer(turn), known, strict=True))
            question = QUESTIONS[turn.kind][turn.wording]
            if one_turn and not last:
                build.image(turn.concept, question + " Answer:")
                build.answer([(f" {answer[0][0]}", answer[0][1]), *answer[1:]], "\n", turn.kind)
            else:
                build.image(turn.concept, question + (" Answer:" if one_turn else "") + END + "<|im_start|>assistant\n")
                build.answer(answer, "<|im_end|>", turn.kind)
                build.add("" if last else "\n")
            build.look_up(sources)
        return build.episode()

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            self._cache[text] = self._tokenizer(text).input_ids
        return self._cache[text]


def _sources(before: list[Turn], turn: Turn) -> list[list[int] | None]:
    """Per part of the answer, which of the turns before tell it. None for what the image itself tells."""
    if turn.kind in (Kind.COLOUR, Kind.SHAPE):
        return [None]
    shape, colour, _ = parts_of(turn.concept)
    same = [place for place, other in enumerate(before) if other.kind is turn.kind]
    if turn.kind is Kind.CODE:
        parts = {place: parts_of(before[place].concept) for place in same}
        return [[place for place in same if parts[place][1] == colour], [p for p in same if parts[p][0] == shape]]
    return [[place for place in same if before[place].concept == turn.concept]] * 2


class _Builder:
    """Collects a prompt piece by piece. Every piece encodes as it would inside the whole text."""

    def __init__(self, encode: Callable[[str], list[int]]) -> None:
        self._encode = encode
        self._tokens: list[int] = []
        self._weights: list[float] = []
        self._images: list[int] = []
        self._answers: list[int] = []
        self._kinds: list[int] = []
        self._lookups: list[tuple[int, list[int]]] = []

    def add(self, text: str, weight: float = 0.0) -> None:
        """Append text. All of its tokens get the weight."""
        ids = self._encode(text) if text else []
        self._tokens += ids
        self._weights += [weight] * len(ids)

    def image(self, concept: int, text: str) -> None:
        """Append an image mark and text."""
        self._images.append(concept)
        self.add(IMAGE + text)

    def answer(self, parts: list[tuple[str, float]], end: str, kind: Kind) -> None:
        """Append an answer's weighted parts and its end."""
        self._answers.append(len(self._tokens) - 1)
        self._kinds.append(kind)
        for text, weight in parts:
            self.add(text, weight)
        self.add(end, 0.2)

    def look_up(self, sources: list[list[int] | None]) -> None:
        """Note for the last answer which earlier turns tell each of its parts."""
        for part, turns in enumerate(sources):
            if turns:
                places = [self._answers[turn] + 1 + part for turn in turns]
                self._lookups.append((self._answers[-1] + part, places))

    def episode(self) -> Episode:
        """What was collected."""
        return Episode(self._tokens, self._weights, self._images, self._answers, self._kinds, self._lookups)
