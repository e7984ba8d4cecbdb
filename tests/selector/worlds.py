"""Small random data sets and settings for the tests of the training library.

Ragged pools (5 to 12 candidates), ragged groups (3 to 9 beams), every outcome column, sparse positives and some groups
of constant outcome. All arrays are write-protected, as they come out of Ray's object store: whoever writes to them
fails.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selector.batches import EpochNoise, TensorData
from selector.config import SelectorConfig
from selector.data.dataset import Dataset, Outcome, Split
from selector.model import PointerSelector, build_selector
from selector.reports import EpochReport
from selector.settings import TrialSettings, ValidationSettings
from selector.training import GrpoStage, RceStage
from selector.training.stage import EpochMeans, TrainingStage
from selector.validation import Evaluator

CPU = torch.device("cpu")
CONFIG = SelectorConfig(width=10, hidden=12, layers=1, heads=3, decoder="gate", temperature=0.1, dropout=0.5)
ARCHITECTURES = [
    replace(CONFIG, layers=layers, decoder=decoder) for layers in (0, 1, 3) for decoder in ("static", "gate")
]


def make_dataset(
    seed: int = 0,
    queries: int = 25,
    width: int = 17,
    picks: int = 2,
    pools: tuple[int, int] = (5, 12),
    groups: tuple[int, int] = (3, 9),
    constant_share: float = 0.25,
) -> Dataset:
    """Two thirds of the queries train; the rest alternate between val and test. Every split has constant groups."""
    rng = np.random.default_rng(seed)
    items = queries + max(2 * queries, pools[1])
    pool_sizes = rng.integers(pools[0], pools[1] + 1, queries)
    group_sizes = rng.integers(groups[0], groups[1] + 1, queries)
    pool_items = [rng.choice(np.arange(queries, items), size, replace=False) for size in pool_sizes]
    picked = [
        np.stack([rng.permutation(pool)[:picks] for _ in range(group)])
        for pool, group in zip(pool_sizes, group_sizes, strict=True)
    ]
    every = max(round(1 / constant_share), 1) if constant_share else queries + 1
    constant = np.arange(queries) % every == every - 1
    split = np.where(np.arange(queries) % 3 < 2, Split.TRAIN, np.where(np.arange(queries) % 2, Split.VAL, Split.TEST))
    arrays: dict[str, Any] = {
        "embeddings": rng.standard_normal((items, width)).astype(np.float32),
        "query_items": rng.permutation(queries).astype(np.int64),
        "pool_items": np.concatenate(pool_items).astype(np.int64),
        "pool_starts": _starts(pool_sizes),
        "beam_picks": np.concatenate(picked).astype(np.int64),
        "beam_starts": _starts(group_sizes),
        "split": split.astype(np.int8),
    }
    outcomes = _outcomes(rng, group_sizes, constant)
    for array in [*arrays.values(), *outcomes.values()]:
        array.setflags(write=False)
    return Dataset(**arrays, outcomes=outcomes)


def _outcomes(rng: np.random.Generator, group_sizes: np.ndarray, constant: np.ndarray) -> dict[Outcome, np.ndarray]:
    beams = int(group_sizes.sum())
    hard = (rng.random(beams) < 0.25).astype(np.float32)
    columns = {
        Outcome.CORRECT: hard,
        Outcome.ACC_SCORE: np.where(hard > 0, rng.choice([0.6, 0.9, 1.0], beams), rng.choice([0, 0, 0.3], beams)),
        Outcome.GT_PROB: rng.random(beams),
        Outcome.REL_SCORE: rng.random(beams),
        Outcome.BEAM_SCORE: rng.standard_normal(beams),
        Outcome.LOGPROB_SCORE: -rng.random(beams) * 3,
    }
    silent = np.repeat(constant, group_sizes)
    return {name: np.where(silent, 0, values).astype(np.float32) for name, values in columns.items()}


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def replace_columns(dataset: Dataset, **values: Any) -> Dataset:
    """A copy of the data set with other columns."""
    return Dataset(**{**{name: getattr(dataset, name) for name in dataset.__dataclass_fields__}, **values})


def group(dataset: Dataset, query: int) -> slice:
    """Rows of a query's beams."""
    return slice(int(dataset.beam_starts[query]), int(dataset.beam_starts[query + 1]))


def make_settings(**sections: dict[str, Any] | int) -> TrialSettings:
    """A small, quick trial; each section's values override these."""
    base: dict[str, Any] = {
        "model": {"hidden": 24, "heads": 3, "layers": 1, "decoder": "gate", "dropout": 0.5},
        "rce": {"epochs": 2, "lr": 3e-3, "batch_size": 6},
        "grpo": {"epochs": 3, "lr": 3e-3, "batch_size": 6},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values} if isinstance(values, dict) else values
    return TrialSettings.model_validate(base)


def tensors_of(dataset: Dataset, device: torch.device = CPU) -> TensorData:
    """The data set on a device."""
    return TensorData(dataset, device)


def evaluator(dataset: Dataset, device: torch.device = CPU, **validation: Any) -> Evaluator:
    """An evaluator of the val split."""
    return Evaluator(tensors_of(dataset, device), ValidationSettings.model_validate(validation))


def shake(model: PointerSelector, seed: int = 0, scale: float = 0.2) -> PointerSelector:
    """Move every parameter, so that zero initialisations hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(scale * noise.to(parameter.dtype))
    return model


def in_double(stage: RceStage | GrpoStage) -> None:
    """Let a stage compute in double precision from here on, training data included."""
    stage.model.double()
    stage.reference.double()
    stage.data.embeddings_MD = stage.data.embeddings_MD.double()
    stage._rewards = stage._rewards.double()


def measure(
    stage: TrainingStage, groups: list[list[int]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, Any]]:
    """Loss, gradient and metrics over all queries, given as batches of the given queries."""
    architecture = stage.settings.model
    noise = EpochNoise(stage.queries, architecture.layers + 1, architecture.hidden, architecture.dropout, "same")
    means = EpochMeans()
    stage.model.zero_grad()
    total: Any = 0
    for group in groups:
        loss = stage._update(stage.data.batch(stage.queries[group]), noise, means) * len(group) / len(stage.queries)
        loss.backward()
        total = total + loss.detach()
    gradient = {name: p.grad.clone() for name, p in stage.model.named_parameters() if p.grad is not None}
    numbers = stage._stage_numbers(means) | {"zero_variance": means.per_query["zero_variance"]}
    return total, gradient, numbers


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Equal to the bit, name by name."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def pad(rows: Iterable[Iterable[float]], filler: float, extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ragged rows as a padded double tensor and its mask; `filler` stands at the padding and in `extra` columns."""
    lists = [list(row) for row in rows]
    longest = max(map(len, lists)) + extra
    values = torch.tensor([row + [filler] * (longest - len(row)) for row in lists], dtype=torch.float64)
    mask = torch.tensor([[i < len(row) for i in range(longest)] for row in lists])
    return values, mask


def shaken(config: SelectorConfig, dtype: torch.dtype = torch.float64) -> PointerSelector:
    return shake(build_selector(config, seed=3).to(dtype))


def inputs(B: int = 3, K: int = 7, D: int = 10, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(B * 100 + K)
    mask_BK = torch.arange(K) < torch.tensor([K, *range(K - 1, 0, -1)] * B)[:B, None].clamp_min(4)
    query_BD = torch.randn(B, D, generator=generator, dtype=dtype)
    return query_BD, torch.randn(B, K, D, generator=generator, dtype=dtype), mask_BK


def some_model(dataset: Dataset, seed: int = 0) -> PointerSelector:
    settings = make_settings(seed=seed)
    return shake(RceStage(settings, tensors_of(dataset), evaluator(dataset, metric="rce")).model, seed)


def deterministic(report: EpochReport) -> dict[str, Any]:
    """All values but the two that measure time: equal for equal settings, seed, data and machine."""
    return {key: value for key, value in report.to_dict().items() if key not in ("queries_per_second", "seconds")}
