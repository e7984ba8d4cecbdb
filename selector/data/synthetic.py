"""The embedded demo data: made from a seed in seconds, with hidden structure and outcomes from a stated rule.

World. Every item has a topic, a kind and a style. Its embedding is a rotated sum of a topic vector, a weaker kind
vector, a strong style vector and noise. So plain cosine similarity mostly finds items of the same style, which help
nobody.

Rule. A query is answered by what its demonstrations reveal. One of the query's topic reveals one half of the answer,
one of its kind the other half. One demonstration may reveal both, or two may complement each other:

    both halves -> accuracy 1.0;  topic only -> 0.3;  else 0.0;  correct = accuracy >= 0.6
    probability of the ground truth = 0.02 + 0.30 [topic] + 0.18 [kind] + 0.45 [both]
    relevance = mean cosine similarity of the demonstrations to the query

There is no vision-language model in it. As in real collections, beams are proposed at random, by similarity, and by a
noisy earlier selector. Groups and pools are ragged, and positives are sparse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selector.arrays import Float32Array, Float64Array, Int64Array
from selector.data.dataset import Dataset, Outcome
from selector.data.settings import DemoSettings, SplitSettings
from selector.data.split import assign_splits
from selector.seeds import random_stream

TOPICS, KINDS, STYLES = 30, 5, 25
TOPIC_WIDTH, KIND_WIDTH, STYLE_WIDTH = 16, 8, 24
WIDTH = TOPIC_WIDTH + KIND_WIDTH + STYLE_WIDTH
TOPIC_SCALE, KIND_SCALE, STYLE_SCALE, NOISE_SCALE = 0.8, 0.6, 1.0, 0.45
PICKS = 2
CORRECT_FROM = 0.6


@dataclass(frozen=True)
class DemoWorld:
    """Hidden attributes of every item, int64 [M] each, and the embeddings, float32 [M, D], that show them dimly."""

    topic: Int64Array
    kind: Int64Array
    style: Int64Array
    embeddings: Float32Array

    def outcomes(self, queries: Int64Array, demonstrations_NS: Int64Array) -> dict[Outcome, Float32Array]:
        """What the rule measures.

        Args:
            queries: int64 [N], item ids of the queries.
            demonstrations_NS: int64 [N, S], item ids of the ordered demonstrations, any S >= 1.

        Returns:
            float32 [N] per column: vqa_correct, vqa_acc_score, vqa_gt_prob, vqa_rel_score.
        """
        topic = (self.topic[demonstrations_NS] == self.topic[queries][:, None]).any(1)
        kind = (self.kind[demonstrations_NS] == self.kind[queries][:, None]).any(1)
        both = topic & kind
        accuracy = np.where(both, 1.0, np.where(topic, 0.3, 0.0))
        cosine_NS = np.einsum("nd,nsd->ns", self.embeddings[queries], self.embeddings[demonstrations_NS])
        values = {
            Outcome.CORRECT: accuracy >= CORRECT_FROM,
            Outcome.ACC_SCORE: accuracy,
            Outcome.GT_PROB: 0.02 + 0.30 * topic + 0.18 * kind + 0.45 * both,
            Outcome.REL_SCORE: cosine_NS.mean(1).clip(-1, 1),
        }
        return {name: value.astype(np.float32) for name, value in values.items()}


def demo_world(settings: DemoSettings) -> DemoWorld:
    """The world of a seed."""
    rng = random_stream(settings.seed, 1)
    topic = rng.integers(TOPICS, size=settings.items)
    kind = rng.integers(KINDS, size=settings.items)
    style = rng.integers(STYLES, size=settings.items)
    parts = np.concatenate(
        [
            TOPIC_SCALE * _unit(rng.normal(size=(TOPICS, TOPIC_WIDTH)))[topic],
            KIND_SCALE * _unit(rng.normal(size=(KINDS, KIND_WIDTH)))[kind],
            STYLE_SCALE * _unit(rng.normal(size=(STYLES, STYLE_WIDTH)))[style],
        ],
        axis=1,
    )
    rotation = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    noise = NOISE_SCALE * rng.normal(size=parts.shape) / WIDTH**0.5
    return DemoWorld(topic, kind, style, _unit((parts + noise) @ rotation).astype(np.float32))


def demo_dataset(settings: DemoSettings, split: SplitSettings) -> Dataset:
    """Queries, pools of 24 to 40 and groups of 8 to 20 beams of two, with measured outcomes."""
    world = demo_world(settings)
    rng = random_stream(settings.seed, 2)
    queries = np.sort(rng.choice(settings.items, size=settings.queries, replace=False)).astype(np.int64)
    pools = [_pool(world, int(query), rng) for query in queries]
    groups = [_beams(world, int(query), pool, rng) for query, pool in zip(queries, pools, strict=True)]
    picks = np.concatenate(groups)
    asked = np.repeat(queries, [len(group) for group in groups])
    shown = np.concatenate([pool[group] for pool, group in zip(pools, groups, strict=True)])
    return Dataset(
        embeddings=world.embeddings,
        query_items=queries,
        pool_items=np.concatenate(pools),
        pool_starts=_starts([len(pool) for pool in pools]),
        beam_picks=picks,
        beam_starts=_starts([len(group) for group in groups]),
        outcomes=world.outcomes(asked, shown),
        split=assign_splits(queries, split),
    )


def _pool(world: DemoWorld, query: int, rng: np.random.Generator) -> Int64Array:
    """Mostly random candidates and look-alikes in style, with a few that share the topic."""
    items = np.arange(len(world.topic))
    others = items != query
    same_topic = items[others & (world.topic == world.topic[query])]
    same_style = items[others & (world.style == world.style[query]) & (world.topic != world.topic[query])]
    helpful = rng.choice(same_topic, size=min(int(rng.integers(1, 4)), len(same_topic)), replace=False)
    alike = rng.choice(same_style, size=min(int(rng.integers(5, 10)), len(same_style)), replace=False)
    chosen = np.concatenate([helpful, alike])
    rest = np.setdiff1d(items[others], chosen)
    filler = rng.choice(rest, size=int(rng.integers(24, 41)) - len(chosen), replace=False)
    return rng.permutation(np.concatenate([chosen, filler])).astype(np.int64)


def _beams(world: DemoWorld, query: int, pool: Int64Array, rng: np.random.Generator) -> Int64Array:
    """Distinct ordered pairs from three proposers: random, similarity sampling, and a noisy earlier selector."""
    similarity = world.embeddings[pool] @ world.embeddings[query]
    insight = 1.0 * (world.topic[pool] == world.topic[query]) + 0.5 * (world.kind[pool] == world.kind[query])
    preferences = (np.zeros(len(pool)), 6.0 * similarity, 1.5 * insight)
    beams: dict[tuple[int, ...], None] = {}
    wanted = int(rng.integers(8, 21))
    while len(beams) < wanted:
        preference = preferences[rng.integers(len(preferences))]
        order = np.argsort(-(preference + rng.gumbel(size=len(pool))))  # Gumbel top-k: sampling without replacement
        beams.setdefault(tuple(order[:PICKS].tolist()))
    return np.array(list(beams), dtype=np.int64)


def _unit(rows: Float64Array) -> Float64Array:
    lengths: Float64Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


def _starts(lengths: list[int]) -> Int64Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
