"""What a data set looks like, in the numbers a person wants to see before training on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selector.arrays import Float32Array, Int64Array
from selector.data.dataset import Dataset, Outcome, Split


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of a size."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True)
class DataSummary:
    """Summary of a data set under one reward.

    Attributes:
        fingerprint: 64 hex digits.
        queries: number per split. Every split is there.
        items: rows of the embeddings (M).
        width: embedding width (D).
        picks: demonstrations per beam (S).
        beams: all beams (sum N).
        pool_sizes: candidates per query.
        group_sizes: beams per query.
        zero_variance_groups: number of groups whose rewards are all equal, per split. Every split is there.
        zero_variance_share: the same as shares in [0, 1]. 0 for a split without queries.
        positive_beams_share: share of beams that are positive, in [0, 1].
        positive_groups_share: share of groups with at least one positive beam, in [0, 1].
        positives_by: what "positive" means here: `vqa_correct` equal to 1, or else a reward above 0.
        outcomes: the measured columns.
        counts: what reading left out or noticed.
    """

    fingerprint: str
    queries: dict[Split, int]
    items: int
    width: int
    picks: int
    beams: int
    pool_sizes: Spread
    group_sizes: Spread
    zero_variance_groups: dict[Split, int]
    zero_variance_share: dict[Split, float]
    positive_beams_share: float
    positive_groups_share: float
    positives_by: str
    outcomes: tuple[Outcome, ...]
    counts: dict[str, int]


def describe(dataset: Dataset, rewards: Float32Array) -> DataSummary:
    """Summarise a checked data set.

    Args:
        dataset: as `load` returns it.
        rewards: float [sum N], one per beam, in the data set's order.

    Raises:
        ValueError: `rewards` has another shape.
    """
    if rewards.shape != (len(dataset.beam_picks),):
        raise ValueError(f"rewards have shape {rewards.shape}, the data set has {len(dataset.beam_picks)} beams")
    starts = dataset.beam_starts[:-1]
    constant = np.maximum.reduceat(rewards, starts) == np.minimum.reduceat(rewards, starts)
    correct = dataset.outcomes.get(Outcome.CORRECT)
    positive = rewards > 0 if correct is None else correct == 1
    queries = {split: int((dataset.split == int(split)).sum()) for split in Split}
    zero_variance = {split: int(constant[dataset.split == int(split)].sum()) for split in Split}
    return DataSummary(
        fingerprint=dataset.fingerprint(),
        queries=queries,
        items=len(dataset.embeddings),
        width=dataset.width,
        picks=dataset.picks,
        beams=len(dataset.beam_picks),
        pool_sizes=_spread(np.diff(dataset.pool_starts)),
        group_sizes=_spread(np.diff(dataset.beam_starts)),
        zero_variance_groups=zero_variance,
        zero_variance_share={split: zero_variance[split] / max(queries[split], 1) for split in Split},
        positive_beams_share=float(positive.mean()),
        positive_groups_share=float(np.logical_or.reduceat(positive, starts).mean()),
        positives_by="reward above 0" if correct is None else f"{Outcome.CORRECT.value} is 1",
        outcomes=tuple(outcome for outcome in Outcome if outcome in dataset.outcomes),
        counts=dict(dataset.counts),
    )


def _spread(sizes: Int64Array) -> Spread:
    return Spread(int(sizes.min()), float(np.median(sizes)), int(sizes.max()))
