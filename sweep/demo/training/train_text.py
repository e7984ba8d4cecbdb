"""Second stage: the language model learns to answer from demonstrations. The vision tower stays as it is.

Image tokens come from a bank made once, since every image of 28 x 28 pixels is one token and the tower is frozen. As
every image takes one place, positions count up the same in all three rotary sections.

Two aids lead the model to look things up, since it does not get beyond copying by itself in this time. One is a head
that is thrown away. It reads shape, colour, texture and kind from the first layer's output where answers begin. The
other leads two heads of the second layer to attend to the token that says the answer. Both come after copying is
learned and fade out before the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from selector.seeds import random_stream
from sweep.demo.concepts import Kind
from sweep.demo.drawing import draw
from sweep.demo.model import WIDTH, DemoModel, image_tokens
from sweep.demo.tokenizer import build_tokenizer
from sweep.demo.training.episodes import Episode, Episodes, Phase
from sweep.demo.training.train_vision import AttributeHead, Report
from sweep.settings.demo import CONCEPTS

BATCH = {1: 96, 2: 120, 3: 88, 4: 72, 5: 64}  # prompts by number of turns: about equally many tokens
LOOKING_HEADS = 2  # heads of the second layer that are led to the demonstration
BANK = 256  # images per concept


@dataclass(frozen=True, slots=True)
class Part:
    """Part of the curriculum: up to step `until`, prompts of `phase`, the aids weighted from `aux[0]` to `aux[1]`."""

    until: int
    phase: Phase
    aux: tuple[float, float]


CURRICULUM = (
    Part(150, Phase((2, 2), 0.0, 1), (0.0, 0.0)),
    Part(500, Phase((3, 3), 0.0, 2), (1.0, 0.6)),
    Part(800, Phase((3, 3), 0.7, 2), (0.6, 0.4)),
    Part(1100, Phase((4, 4), 0.8, 3), (0.4, 0.3)),
    Part(2000, Phase((1, 5), 0.9, 3, variants=0.2), (0.3, 0.0)),
    Part(2400, Phase((1, 5), 0.9, 3, variants=0.2), (0.0, 0.0)),
)
RATE, LATE_RATE, WARM_UP, COSINE_FROM = 1.5e-3, 1.2e-3, 100, 800


@dataclass(frozen=True, slots=True)
class Batch:
    """Prompts side by side, padded on the right (B prompts, T tokens, A answers of all prompts).

    Attributes:
        ids_BT: int64.
        images_BT: bool, where image tokens go.
        weights_BT: float32, of each token as a target.
        concepts: int64, of the images in reading order.
        lookup_rows, lookup_places: int64 [L], the answer parts that earlier turns determine.
        sources_LT: bool, the tokens that say them.
        answer_rows, answer_places, answer_concepts, answer_kinds: int64 [A].
    """

    ids_BT: Tensor
    images_BT: Tensor
    weights_BT: Tensor
    concepts: Tensor
    lookup_rows: Tensor
    lookup_places: Tensor
    sources_LT: Tensor
    answer_rows: Tensor
    answer_places: Tensor
    answer_concepts: Tensor
    answer_kinds: Tensor


def collate(episodes: list[Episode], image_id: int, pad_id: int) -> Batch:
    """Pad prompts to one length."""
    length = max(len(episode.tokens) for episode in episodes)
    ids = torch.full((len(episodes), length), pad_id)
    weights = torch.zeros(len(episodes), length)
    for row, episode in enumerate(episodes):
        ids[row, : len(episode.tokens)] = torch.tensor(episode.tokens)
        weights[row, : len(episode.tokens)] = torch.tensor(episode.weights)
    lookups = [(row, place, found) for row, episode in enumerate(episodes) for place, found in episode.lookups]
    sources = torch.zeros(len(lookups), length, dtype=torch.bool)
    for number, (_, _, found) in enumerate(lookups):
        sources[number, found] = True
    return Batch(
        lookup_rows=torch.tensor([row for row, _, _ in lookups], dtype=torch.int64),
        lookup_places=torch.tensor([place for _, place, _ in lookups], dtype=torch.int64),
        sources_LT=sources,
        ids_BT=ids,
        images_BT=ids == image_id,
        weights_BT=weights,
        concepts=torch.tensor([concept for episode in episodes for concept in episode.images]),
        answer_rows=torch.tensor([row for row, episode in enumerate(episodes) for _ in episode.answers]),
        answer_places=torch.tensor([place for episode in episodes for place in episode.answers]),
        answer_concepts=torch.tensor([concept for episode in episodes for concept in episode.images]),
        answer_kinds=torch.tensor([kind for episode in episodes for kind in episode.kinds]),
    )


@torch.inference_mode()
def image_bank(model: DemoModel, per_concept: int, rng: np.random.Generator) -> Tensor:
    """Image tokens of every concept, float32 [CONCEPTS, per_concept, WIDTH]."""
    rows = [image_tokens(model, draw(np.full(per_concept, concept), rng)) for concept in range(CONCEPTS)]
    return torch.stack(rows).clone()


class TextTrainer:
    """One training of the language model in place."""

    def __init__(self, model: DemoModel, seed: int) -> None:
        torch.manual_seed(seed)
        self._model = model
        self._tokenizer = build_tokenizer()
        self._rng = random_stream(seed, 2)
        self._bank = image_bank(model, BANK, self._rng)
        self._episodes = Episodes(self._tokenizer, self._rng)
        self._attributes, self._kind = AttributeHead(), nn.Linear(WIDTH, len(Kind))
        text = [*model.model.language_model.parameters()]
        self._parameters = [*text, *self._attributes.parameters(), *self._kind.parameters()]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=RATE, betas=(0.9, 0.98), weight_decay=0.05)

    @property
    def steps(self) -> int:
        """Length of the curriculum."""
        return CURRICULUM[-1].until

    def run(self, report: Report, save: Callable[[int], None], every: int = 100) -> None:
        """Train to the end; `save` is called with the step every 500 steps from 1000 on."""
        for step, part, aux in _plan():
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(step, self.steps)
            batch = self._collate(self._episodes.batch(part.phase, BATCH))
            loss, state = self._loss(batch, aux)
            self._optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            if (step + 1) % every == 0:
                report(f"text step {step + 1} {state} {self._check(part.phase)}")
            if (step + 1) % 500 == 0 and step >= 999:
                save(step + 1)

    def _collate(self, episodes: list[Episode]) -> Batch:
        return collate(episodes, self._model.config.image_token_id, self._model.config.text_config.pad_token_id)

    def _forward(self, batch: Batch, attention: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """Output of the first and of the last layer, float32 [B, T, WIDTH], and the second layer's attention."""
        language = self._model.model.language_model
        embeds = language.embed_tokens(batch.ids_BT)
        pick = torch.from_numpy(self._rng.integers(BANK, size=len(batch.concepts)))
        embeds = embeds.masked_scatter(batch.images_BT[..., None], self._bank[batch.concepts, pick])
        count, length = batch.ids_BT.shape
        places = torch.arange(length).expand(3, count, length)
        language.set_attn_implementation("eager" if attention else "sdpa")
        out = language(
            inputs_embeds=embeds,
            position_ids=places,
            use_cache=False,
            output_hidden_states=True,
            output_attentions=attention,
        )
        return out.hidden_states[1], out.last_hidden_state, out.attentions[1] if attention else None

    def _loss(self, batch: Batch, aux: float) -> tuple[Tensor, str]:
        """The loss with its aids, and for people the answers' loss and how the aids go."""
        first, last, attention_BHTT = self._forward(batch, attention=aux > 0)
        weights = batch.weights_BT[:, 1:]
        rows, places = weights.nonzero(as_tuple=True)
        logits = self._model.lm_head(last[rows, places])
        losses = nn.functional.cross_entropy(logits, batch.ids_BT[rows, places + 1], reduction="none")
        weight = weights[rows, places]
        loss = (losses * weight).sum() / weight.sum()
        state = f"loss {loss.item():.3f}"
        if attention_BHTT is None:
            return loss, state
        looked = attention_BHTT[batch.lookup_rows, :LOOKING_HEADS, batch.lookup_places]
        found = (looked * batch.sources_LT[:, None]).sum(-1).mean(1)
        seen = self._attributes.right(first[batch.answer_rows, batch.answer_places], batch.answer_concepts.numpy())
        state += f" looked {found.mean().item():.2f} seen {' '.join(f'{share:.2f}' for share in seen)}"
        if len(found):  # prompts without demonstrations have nothing to look up
            loss = loss - 2 * aux * (found + 1e-4).log().mean()
        for offset in (0, 1):  # where the answer's first token is predicted, and where it stands
            vectors = first[batch.answer_rows, batch.answer_places + offset]
            loss = loss + aux / 2 * self._attributes.loss(vectors, batch.answer_concepts.numpy())
            loss = loss + aux / 2 * nn.functional.cross_entropy(self._kind(vectors), batch.answer_kinds)
        return loss, state

    @torch.inference_mode()
    def _check(self, phase: Phase) -> str:
        """Share of fully determined answer parts that are right, per kind, over fresh training-like prompts."""
        turns = phase.turns[1]
        asked = self._episodes.batch(Phase((turns, turns), phase.mixed, phase.concepts), {turns: 100})
        batch = self._collate(asked)
        _, last, _ = self._forward(batch)
        right = (self._model.lm_head(last[:, :-1]).argmax(-1) == batch.ids_BT[:, 1:]).float()
        known = batch.weights_BT[:, 1:] == 1
        words = []
        for kind in Kind:
            mine = batch.answer_kinds == kind
            rows, places = batch.answer_rows[mine], batch.answer_places[mine]
            parts = []
            for offset in range(1 if kind >= Kind.COLOUR else 2):
                told = known[rows, places + offset]
                parts.append(f"{right[rows, places + offset][told].mean().item():.2f}" if told.any() else "-")
            words.append(f"{kind.name.lower()} {'/'.join(parts)}")
        return ", ".join(words)


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, constant while matching is learned, then a cosine to a twentieth."""
    if step < COSINE_FROM:
        return RATE * min(1.0, (step + 1) / WARM_UP)
    share = (step - COSINE_FROM) / max(1, steps - COSINE_FROM)
    return LATE_RATE * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def _plan() -> Iterator[tuple[int, Part, float]]:
    start = 0
    for part in CURRICULUM:
        for step in range(start, part.until):
            share = (step - start) / (part.until - start)
            yield step, part, part.aux[0] + share * (part.aux[1] - part.aux[0])
        start = part.until
