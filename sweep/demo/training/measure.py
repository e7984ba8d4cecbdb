"""How well the demo model answers with given demonstrations, through its own `generate`.

The slow and plain way, one image at a time into the prompt: what the engine computes cleverly must agree with this.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from selector.arrays import Float32Array, Int64Array
from selector.seeds import random_stream
from sweep.demo.concepts import Kind, concept_parts
from sweep.demo.features import item_features
from sweep.demo.model import DEMO_MODEL_FOLDER, MERGE, DemoModel, load_demo_model, patches
from sweep.demo.world import World, make_world
from sweep.settings.demo import WorldSettings
from sweep.settings.vlm import CountPlace, Layout, PromptSettings
from sweep.vlm.prompts import PromptRenderer
from sweep.vlm.work import WorkItem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH = 32
MAX_ANSWER = 6
TEST = 2  # value of the split


@dataclass(frozen=True)
class WorldTable:
    """A world's items as prompts show them."""

    world: World

    def question(self, item: int) -> str:
        """The item's question."""
        return self.world.questions[item]

    def shown_answer(self, item: int) -> str:
        """The right answer, which most annotators gave."""
        return self.world.lexicon.answer(int(self.world.concept[item]), Kind(int(self.world.kind[item])))


class WorldAnswerer:
    """A stored model that answers work items of a world."""

    def __init__(self, folder: Path, world: World, prompt: PromptSettings | None = None) -> None:
        from transformers import AutoTokenizer

        self.model: DemoModel = load_demo_model(folder)
        self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._world = world
        self._renderer = PromptRenderer(prompt or PromptSettings(), self._tokenizer, foreign=False)

    def answers(self, queries: Sequence[int], demonstrations: Sequence[Sequence[int] | Int64Array]) -> list[str]:
        """Greedy answers. `demonstrations` has the item ids of each query, in the order of the prompt."""
        pairs = list(zip(queries, demonstrations, strict=True))
        said: list[str] = []
        for start in range(0, len(pairs), _BATCH):
            said += self._batch(pairs[start : start + _BATCH])
        return said

    @torch.inference_mode()
    def _batch(self, pairs: Sequence[tuple[int, Sequence[int] | Int64Array]]) -> list[str]:
        table = WorldTable(self._world)
        prompts = [
            self._renderer.render(WorkItem(query=int(query), demonstrations=tuple(map(int, demos))), table)
            for query, demos in pairs
        ]
        padded = self._tokenizer([prompt.text for prompt in prompts], padding=True, padding_side="left")
        ids = torch.tensor(padded["input_ids"])
        images = np.array([self._world.image[item] for prompt in prompts for item in prompt.images])
        out = self.model.generate(
            input_ids=ids,
            attention_mask=torch.tensor(padded["attention_mask"]),
            mm_token_type_ids=(ids == self.model.config.image_token_id).int(),
            pixel_values=patches(self._world.images[images]),
            image_grid_thw=torch.tensor([[1, MERGE, MERGE]]).expand(len(images), 3),
            max_new_tokens=MAX_ANSWER,
            do_sample=False,
        )
        return [text.strip() for text in self._tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)]

    def exact(self, queries: Sequence[int], demonstrations: Sequence[Sequence[int] | Int64Array]) -> list[bool]:
        """Which answers are the right one, letter by letter."""
        table = WorldTable(self._world)
        said = self.answers(queries, demonstrations)
        return [answer == table.shown_answer(int(query)) for answer, query in zip(said, queries, strict=True)]


def random_picks(world: World, shots: int, seed: int) -> list[Int64Array]:
    """Per query, demonstrations drawn from its pool."""
    rng = random_stream(seed, 11)
    return [rng.choice(pool, size=shots, replace=False) for pool in world.pools]


def similar_picks(world: World, features: Float32Array, shots: int) -> list[Int64Array]:
    """Per query, the candidates of greatest cosine similarity, nearest last."""
    picks = []
    for query, pool in zip(world.query_items.tolist(), world.pools, strict=True):
        order = np.argsort(-(features[pool] @ features[query]), kind="stable")[:shots]
        picks.append(pool[order[::-1]])
    return picks


def right_picks(world: World) -> list[Int64Array]:
    """Per query, what tells the answer: one candidate, or two that complement each other, or none if there is none."""
    return [_right(world, query, pool) for query, pool in zip(world.query_items.tolist(), world.pools, strict=True)]


def right_among_four(world: World, seed: int) -> list[Int64Array]:
    """Per query, what tells the answer among random other candidates, four in all, in any order."""
    rng = random_stream(seed, 12)
    picks = []
    for right, pool in zip(right_picks(world), world.pools, strict=True):
        others = rng.choice(np.setdiff1d(pool, right), size=4 - len(right), replace=False)
        picks.append(rng.permutation(np.concatenate([right, others])))
    return picks


def _right(world: World, query: int, pool: Int64Array) -> Int64Array:
    same_kind = pool[world.kind[pool] == world.kind[query]]
    if world.kind[query] in (Kind.COLOUR, Kind.SHAPE):
        return pool[:0]
    if world.kind[query] != Kind.CODE:
        alone: Int64Array = same_kind[world.concept[same_kind] == world.concept[query]][:1]
        return alone
    shape, colour, _ = concept_parts(world.concept[same_kind])
    own_shape, own_colour, _ = concept_parts(world.concept[query : query + 1])
    halves = (same_kind[colour == own_colour][:1], same_kind[shape == own_shape][:1])
    both: Int64Array = np.unique(np.concatenate(halves))
    return both


def main() -> None:
    """Print exact match per kind of question for the test queries of the demo data."""
    parser = argparse.ArgumentParser(
        prog="python -m sweep.demo.training.measure", description="How well the demo model answers."
    )
    parser.add_argument("--model", type=Path, default=DEMO_MODEL_FOLDER, help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the demo data")
    parser.add_argument("--layout", choices=["turns", "one_turn"], default="turns")
    parser.add_argument("--count", choices=["last", "first"], default="last")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    world = make_world(WorldSettings(seed=arguments.seed))
    prompt = PromptSettings(layout=Layout(arguments.layout), count=CountPlace(arguments.count))
    answerer = WorldAnswerer(arguments.model, world, prompt)
    features = item_features(answerer.model, world.images[world.image], world.questions)
    none: list[Int64Array] = [pool[:0] for pool in world.pools]
    rows = {"none": none, "right": right_picks(world), "right of 4": right_among_four(world, 0)}
    rows |= {f"random {shots}": random_picks(world, shots, 0) for shots in range(1, 5)}
    rows |= {f"similar {shots}": similar_picks(world, features, shots) for shots in range(1, 5)}
    asked = np.flatnonzero(world.split == TEST)
    kinds = world.kind[world.query_items[asked]]
    print(f"{'':12}" + "".join(f"{kind.name.lower():>9}" for kind in Kind) + f"{'all':>9}")
    for name, picks in rows.items():
        right = np.array(answerer.exact(world.query_items[asked].tolist(), [picks[place] for place in asked]))
        shares = [right[kinds == kind].mean() for kind in Kind]
        print(f"{name:12}" + "".join(f"{share:9.2f}" for share in [*shares, right.mean()]), flush=True)


if __name__ == "__main__":
    main()
