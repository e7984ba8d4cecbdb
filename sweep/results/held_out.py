"""Comparison on the test split, which neither gradients nor pruning nor epoch choice have seen.

Rows: random and similarity selection, the shared RCE reference, and the best trials. All go through the same code:
plain similarity is a selector whose projections are identities, random selection one whose temperature is so high that
every candidate is equally likely.

Two measures, each per question:
- `reward`: expected reward over the question's measured beams (the validation reward, fixed for the run);
- `accuracy`: of the greedy selection, 1 to S shots, where the outcome of any selection is known. That is so for the
  demo data (its rule answers for every selection); for collected data it takes a vision-language model.

Differences to similarity come with a paired bootstrap interval over questions (Efron & Tibshirani 1993, percentile).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selector.arrays import Float64Array, Int64Array
from selector.batches import TensorData
from selector.data import Dataset, DataSettings, Outcome, Split
from selector.data.synthetic import DemoWorld, demo_world
from selector.model import PointerSelector, SelectorConfig
from selector.seeds import derive_seed
from selector.settings import ValidationSettings
from selector.validation import Evaluator

RESAMPLES = 2000
RANDOM_DRAWS = 20
SIMILARITY_TEMPERATURE = 0.1
UNIFORM_TEMPERATURE = 1e9


@dataclass(frozen=True)
class HeldOutRow:
    """One policy on the test split. Intervals are 95 %, of the paired difference to the similarity row.

    `loss` is NaN where the listwise metric is undefined: no test group has beams of different reward.
    """

    name: str
    loss: float
    reward: float
    reward_gain: tuple[float, float, float] | None
    accuracy: tuple[float, ...] | None
    accuracy_gain: tuple[float, float, float] | None


@dataclass(frozen=True)
class _Measured:
    loss: float
    reward_Q: Float64Array
    accuracy_SQ: list[Float64Array] | None


def similarity_selector(width: int, temperature: float = SIMILARITY_TEMPERATURE) -> PointerSelector:
    """A selector that ranks by plain cosine similarity of the embeddings."""
    config = SelectorConfig(
        width=width, hidden=width, layers=0, heads=1, decoder="static", temperature=temperature, dropout=0.0
    )
    model = PointerSelector(config)
    model.load_state_dict({name: torch.eye(width) for name in model.state_dict()})
    return model


def compare(
    dataset: Dataset, settings: DataSettings, validation: ValidationSettings, policies: Mapping[str, PointerSelector]
) -> list[HeldOutRow]:
    """Rows for random, similarity and the given policies, in this order; empty without a test split.

    Args:
        dataset: all splits.
        settings: how it was made: the demo's rule can answer for any selection.
        validation: the metric's fixed settings.
        policies: selectors by row name, on the CPU.
    """
    queries = dataset.indices(Split.TEST)
    if not len(queries):
        return []
    data = TensorData(dataset, torch.device("cpu"))
    evaluate = Evaluator(data, validation, Split.TEST)
    world = demo_world(settings.demo) if settings.path is None else None
    measured = {
        "random": _measure_random(dataset, evaluate, world),
        "similarity": _measure(dataset, evaluate, world, similarity_selector(dataset.width)),
    }
    measured |= {name: _measure(dataset, evaluate, world, model) for name, model in policies.items()}
    return [_row(name, values, measured["similarity"]) for name, values in measured.items()]


def _measure(dataset: Dataset, evaluate: Evaluator, world: DemoWorld | None, model: PointerSelector) -> _Measured:
    result = evaluate(model)
    accuracy = None if world is None else _accuracies(dataset, evaluate, world, result.picks_QS)
    return _Measured(result.loss, result.reward_Q.numpy(), accuracy)


def _measure_random(dataset: Dataset, evaluate: Evaluator, world: DemoWorld | None) -> _Measured:
    """Expected values of uniform selection; accuracies are means over independent draws."""
    result = evaluate(similarity_selector(dataset.width, UNIFORM_TEMPERATURE))
    if world is None:
        return _Measured(result.loss, result.reward_Q.numpy(), None)
    generator = np.random.default_rng(derive_seed("random selection"))
    draws = [
        _accuracies(dataset, evaluate, world, _random_picks(dataset, evaluate.queries, generator))
        for _ in range(RANDOM_DRAWS)
    ]
    accuracy = [np.mean([draw[shot] for draw in draws], axis=0) for shot in range(dataset.picks)]
    return _Measured(result.loss, result.reward_Q.numpy(), accuracy)


def _random_picks(dataset: Dataset, queries: Int64Array, generator: np.random.Generator) -> Tensor:
    sizes = np.diff(dataset.pool_starts)[queries]
    rows = [generator.choice(size, size=dataset.picks, replace=False) for size in sizes]
    return torch.from_numpy(np.stack(rows))


def _accuracies(dataset: Dataset, evaluate: Evaluator, world: DemoWorld, picks_QS: Tensor) -> list[Float64Array]:
    """Accuracy of every question with the first 1 to S picks."""
    first = dataset.pool_starts[evaluate.queries]
    shown_QS = dataset.pool_items[first[:, None] + picks_QS.numpy()]
    asked = dataset.query_items[evaluate.queries]
    return [
        world.outcomes(asked, shown_QS[:, :shots])[Outcome.ACC_SCORE].astype(np.float64)
        for shots in range(1, dataset.picks + 1)
    ]


def _row(name: str, values: _Measured, baseline: _Measured) -> HeldOutRow:
    compared = values is not baseline
    accuracy, gain = None, None
    if values.accuracy_SQ is not None and baseline.accuracy_SQ is not None:
        accuracy = tuple(float(shot.mean()) for shot in values.accuracy_SQ)
        gain = paired_difference(values.accuracy_SQ[-1], baseline.accuracy_SQ[-1]) if compared else None
    reward_gain = paired_difference(values.reward_Q, baseline.reward_Q) if compared else None
    return HeldOutRow(name, values.loss, float(values.reward_Q.mean()), reward_gain, accuracy, gain)


def paired_difference(values: Float64Array, baseline: Float64Array) -> tuple[float, float, float]:
    """Mean of values - baseline and its 95 % percentile interval over resampled questions."""
    difference = values - baseline
    generator = np.random.default_rng(derive_seed("paired bootstrap"))
    rows = generator.integers(len(difference), size=(RESAMPLES, len(difference)))
    low, high = np.quantile(difference[rows].mean(axis=1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def row_dict(row: HeldOutRow) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "name": row.name,
        "test_loss": row.loss if math.isfinite(row.loss) else None,
        "test_reward": row.reward,
        "test_reward_minus_similarity": row.reward_gain,
        "test_accuracy_by_shots": row.accuracy,
        "test_accuracy_minus_similarity": row.accuracy_gain,
    }
