"""What a data set can teach: rewards, contrast and expected advantages under every reward mode, and how pools overlap.

Legend: Q queries, N beams (all of them, flat).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from selector.advantages import group_advantages, zero_variance
from selector.arrays import Float32Array
from selector.batches import TensorData
from selector.data.collection import CollectionRecord
from selector.data.dataset import Dataset, Outcome, Split
from selector.data.native import Note, is_native, read_manifest, read_note
from selector.data.summary import DataSummary, describe
from selector.errors import DataError
from selector.rewards import compute_rewards, missing_fields
from selector.settings import AdvantageMode, GrpoSettings, RewardMode, RewardSettings

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
PAIRS = 2_000
"""Pairs of pools whose overlap is measured, drawn with a fixed seed."""
BATCH = 256


@dataclass(frozen=True)
class ModeDescription:
    """Rewards of all beams under one mode, with that mode's default weights.

    Attributes:
        missing: measured columns that the mode needs and the data lacks. Then all else is empty.
        mean: over all beams.
        quantiles: at 0, 25, 50, 75 and 100 %.
        levels: how many different rewards there are.
        informative: groups with beams of different reward, per split. Only they teach, and only they are compared.
        advantage_std: standard deviation of the advantage over all training beams, by kind, as an epoch of GRPO
            reports it with the default floor and clip. None without a training query.
    """

    mode: RewardMode
    missing: tuple[str, ...]
    mean: float | None = None
    quantiles: tuple[float, ...] = ()
    levels: int = 0
    informative: dict[Split, int] | None = None
    advantage_std: dict[AdvantageMode, float] | None = None


@dataclass(frozen=True)
class PoolOverlap:
    """How often candidates are shared between queries.

    Attributes:
        candidates: different items over all pools.
        uses: pools that a candidate is in, on average.
        jaccard: shared candidates of two pools by all of theirs, mean over random pairs of queries. None for one query.
    """

    candidates: int
    uses: float
    jaccard: float | None


@dataclass(frozen=True)
class DataDescription:
    """All of it.

    Attributes:
        summary: under the first mode that can be computed.
        positives: number of groups by how many positive beams they have.
        group_sizes: number of groups by how many beams they have.
        proposers: beams by how they came about. Empty where the data does not say.
        collection: its rounds and the data sets that it extends. None where the data does not say.
    """

    summary: DataSummary
    modes: tuple[ModeDescription, ...]
    positives: dict[int, int]
    group_sizes: dict[int, int]
    proposers: dict[str, int]
    overlap: PoolOverlap
    collection: CollectionRecord | None = None


def describe_data(dataset: Dataset, folder: Path | None = None) -> DataDescription:
    """Describe a checked data set.

    Args:
        dataset: as `load` returns it.
        folder: where it lies, for what is not part of the training data.

    Raises:
        DataError: no reward mode can be computed from what was measured.
    """
    modes = tuple(_mode(dataset, mode) for mode in RewardMode)
    usable = [found.mode for found in modes if not found.missing]
    if not usable:
        raise DataError(f"no reward mode can be computed from the measured {', '.join(sorted(dataset.outcomes))}")
    rewards = compute_rewards(dataset.outcomes, RewardSettings(mode=usable[0]))
    correct = dataset.outcomes.get(Outcome.CORRECT)
    positive = rewards > 0 if correct is None else correct == 1
    per_group = np.add.reduceat(positive.astype(np.int64), dataset.beam_starts[:-1])
    return DataDescription(
        describe(dataset, rewards),
        modes,
        _counted(per_group.tolist()),
        _counted(np.diff(dataset.beam_starts).tolist()),
        _proposers(folder),
        _overlap(dataset),
        read_manifest(folder).collection if folder is not None and is_native(folder) else None,
    )


def _counted(values: list[int]) -> dict[int, int]:
    return dict(sorted(Counter(values).items()))


def _mode(dataset: Dataset, mode: RewardMode) -> ModeDescription:
    settings = RewardSettings(mode=mode)
    missing = tuple(missing_fields(settings, set(dataset.outcomes)))
    if missing:
        return ModeDescription(mode, missing)
    rewards = compute_rewards(dataset.outcomes, settings)
    informative, advantage_std = _groups(dataset, rewards)
    return ModeDescription(
        mode,
        (),
        float(rewards.astype(np.float64).mean()),
        tuple(float(value) for value in np.quantile(rewards.astype(np.float64), QUANTILES)),
        len(np.unique(rewards)),
        informative,
        advantage_std,
    )


def _groups(dataset: Dataset, rewards: Float32Array) -> tuple[dict[Split, int], dict[AdvantageMode, float] | None]:
    """Informative groups per split, and the spread of training's advantages, both as training computes them."""
    data, defaults = TensorData(dataset, torch.device("cpu")), GrpoSettings()
    reward_N = torch.from_numpy(rewards)
    informative = dict.fromkeys(Split, 0)
    sums = {mode: [0.0, 0.0, 0.0] for mode in AdvantageMode}  # beams, sum, sum of squares
    for split in Split:
        queries = dataset.indices(split)
        for start in range(0, len(queries), BATCH):
            index_BN, mask_BN = data.beams(queries[start : start + BATCH])
            reward_BN = reward_N[index_BN]
            informative[split] += int((~zero_variance(reward_BN, mask_BN)).sum())
            for mode in AdvantageMode if split is Split.TRAIN else ():
                advantage_BN = group_advantages(
                    reward_BN, mask_BN, mode, defaults.advantage_std_floor, defaults.advantage_clip
                )[mask_BN].double()
                parts = (len(advantage_BN), float(advantage_BN.sum()), float(advantage_BN.square().sum()))
                sums[mode] = [total + part for total, part in zip(sums[mode], parts, strict=True)]
    if not sums[AdvantageMode.ZSCORE][0]:
        return informative, None
    spread = {}
    for mode, (count, total, square) in sums.items():
        spread[mode] = max(square / count - (total / count) ** 2, 0.0) ** 0.5
    return informative, spread


def _proposers(folder: Path | None) -> dict[str, int]:
    names = None if folder is None or not is_native(folder) else read_note(folder, Note.PROPOSER)
    return dict(Counter(names or ()).most_common())


def _overlap(dataset: Dataset) -> PoolOverlap:
    pools = [
        np.unique(dataset.pool_items[start:end])
        for start, end in zip(dataset.pool_starts[:-1], dataset.pool_starts[1:], strict=True)
    ]
    candidates, uses = np.unique(np.concatenate(pools), return_counts=True)
    shares = []
    generator = np.random.default_rng(0)
    for first, second in generator.integers(0, len(pools), (PAIRS, 2)) if len(pools) > 1 else ():
        if first != second:
            both = len(np.intersect1d(pools[first], pools[second], assume_unique=True))
            shares.append(both / (len(pools[first]) + len(pools[second]) - both))
    return PoolOverlap(len(candidates), float(uses.mean()), float(np.mean(shares)) if shares else None)
