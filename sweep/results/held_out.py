"""Comparison on the test split, which neither gradients nor pruning nor epoch choice have seen.

Rows: random and similarity selection, the shared RCE reference, and the best trials. The reward of all of them is
measured by the same code. Plain similarity is a selector whose projections are identities. Random selection is one
whose temperature is so high that every candidate is equally likely.

Two measures, each per question:
- `reward`: expected reward over the question's measured beams (the validation reward, fixed for the run).
- `accuracy`: of the greedy selection, 1 to S shots, where the outcome of any selection is known. That is so for the
  demo data, whose rule answers for every selection. For collected data it takes a vision-language model.

Questions, random draws and intervals are those of `sweep.evaluation`. Each difference to similarity has a 95 %
bootstrap interval over images with all their questions, or over questions where images are not known.

Legend: Q questions, S picks, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from selector.arrays import Float64Array, Int64Array
from selector.batches import TensorData
from selector.data import Dataset, DataSettings, Outcome, Split
from selector.data.synthetic import DemoWorld, demo_world
from selector.model import PointerSelector, SelectorConfig
from selector.rewards import reward_range
from selector.settings import RewardSettings, ValidationSettings
from selector.validation import Evaluator
from sweep.evaluation.bootstrap import DIFFERENCES, Bootstrap, Ends
from sweep.evaluation.questions import Images, choose_questions
from sweep.evaluation.rows import select_randomly
from sweep.settings.evaluation import LEVEL, SplitName

RESAMPLES = 2000
RANDOM_DRAWS = 20
SEED = 0  # of the random draws and the bootstrap
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
    dataset: Dataset,
    settings: DataSettings,
    validation: ValidationSettings,
    policies: Mapping[str, PointerSelector],
    images: Images | None = None,
) -> list[HeldOutRow]:
    """Rows for random, similarity and the given policies, in this order. Empty without a test split.

    Args:
        dataset: all splits.
        settings: how it was made: the demo's rule can answer for any selection.
        validation: the metric's fixed settings.
        policies: selectors by row name, on the CPU.
        images: the image of every item, as `choose_questions` takes them.
    """
    if not len(dataset.indices(Split.TEST)):
        return []
    evaluate = Evaluator(TensorData(dataset, torch.device("cpu")), validation, Split.TEST)
    questions = choose_questions(dataset, SplitName.TEST, None, SEED, images)
    order_Q = np.argsort(questions.queries_Q)  # the evaluator's
    items_Q = questions.items_Q[order_Q]
    world = demo_world(settings.demo) if settings.path is None else None
    first_Q = dataset.pool_starts[evaluate.queries]

    def measure(model: PointerSelector, shown_DQS: Int64Array | None = None) -> _Measured:
        result = evaluate(model)
        if world is None:
            return _Measured(result.loss, result.reward_Q.numpy(), None)
        if shown_DQS is None:
            shown_DQS = dataset.pool_items[first_Q[:, None] + result.picks_QS.numpy()][None]
        return _Measured(result.loss, result.reward_Q.numpy(), _accuracies(world, items_Q, shown_DQS))

    random_DQS = select_randomly(questions, dataset.picks, RANDOM_DRAWS, SEED).picks_DQS[:, order_Q]
    measured = {
        "random": measure(similarity_selector(dataset.width, UNIFORM_TEMPERATURE), random_DQS),
        "similarity": measure(similarity_selector(dataset.width)),
        **{name: measure(model) for name, model in policies.items()},
    }
    gains = _Gains(Bootstrap(questions.clusters_Q[order_Q], RESAMPLES, SEED), validation.reward)
    return [gains.row(name, values, measured["similarity"]) for name, values in measured.items()]


def _accuracies(world: DemoWorld, items_Q: Int64Array, shown_DQS: Int64Array) -> list[Float64Array]:
    """Accuracy of every question with the first 1 to S picks, mean over the draws."""
    D, Q, S = shown_DQS.shape
    asked = np.tile(items_Q, D)
    by_shots = [world.outcomes(asked, shown_DQS.reshape(D * Q, S)[:, :shots]) for shots in range(1, S + 1)]
    return [found[Outcome.ACC_SCORE].astype(np.float64).reshape(D, Q).mean(axis=0) for found in by_shots]


class _Gains:
    """Differences to the baseline with their intervals, all from one bootstrap."""

    def __init__(self, bootstrap: Bootstrap, reward: RewardSettings) -> None:
        self._bootstrap = bootstrap
        low, high = reward_range(reward)
        self._rewards = Ends(low - high, high - low, DIFFERENCES.halves)

    def row(self, name: str, values: _Measured, baseline: _Measured) -> HeldOutRow:
        compared = values is not baseline
        accuracy, gain = None, None
        if values.accuracy_SQ is not None and baseline.accuracy_SQ is not None:
            accuracy = tuple(float(shot.mean()) for shot in values.accuracy_SQ)
            gain = self._gain(values.accuracy_SQ[-1] - baseline.accuracy_SQ[-1], DIFFERENCES) if compared else None
        reward_gain = self._gain(values.reward_Q - baseline.reward_Q, self._rewards) if compared else None
        return HeldOutRow(name, values.loss, float(values.reward_Q.mean()), reward_gain, accuracy, gain)

    def _gain(self, difference_Q: Float64Array, ends: Ends) -> tuple[float, float, float]:
        """Mean, and the ends of its 95 % interval."""
        found = self._bootstrap.replicate(difference_Q[:, None], ends)
        low, high = found.interval(np.array([LEVEL]))
        return float(found.value_P[0]), float(low[0]), float(high[0])


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
