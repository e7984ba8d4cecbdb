"""Comparison on the test split, which neither gradients nor pruning nor epoch choice have seen.

Rows: random and similarity selection, the shared RCE reference, and the best trials. The same code measures all of
them. Plain similarity is a selector whose projections are identities. Random selection orders nothing.

Measures, each per question. Only the order of a policy's scores counts, so no temperature changes them:
- `preferred`: reward of the measured beam that the policy prefers (the validation reward, fixed for the run).
- `agreement`: share of pairs of beams of different reward that the policy orders as their rewards do.
- `accuracy`: of the greedy selection, 1 to S shots, where the outcome of any selection is known. That is so for the
  demo data, whose rule answers for every selection. For collected data it takes a vision-language model.

Questions, random draws, intervals and corrections are those of `sweep.evaluation`. The differences to similarity by one
measure are one Holm family, over all rows.

Legend: R rows, Q questions, S picks, D draws.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from selector.arrays import Float64Array, Int64Array
from selector.batches import TensorData
from selector.config import SelectorConfig
from selector.data import Dataset, DataSettings, Outcome, Split
from selector.data.synthetic import DemoWorld, demo_world
from selector.model import PointerSelector
from selector.order import measure_order
from selector.rewards import reward_range
from selector.settings import ValidationSettings
from sweep.evaluation.analysis import difference_records
from sweep.evaluation.bootstrap import DIFFERENCES, Bootstrap, Ends
from sweep.evaluation.questions import Images, Questions, choose_questions
from sweep.evaluation.records import Difference
from sweep.evaluation.rows import PolicyRow, RowKind, select_randomly, select_with
from sweep.evaluation.statistics import differences
from sweep.settings.evaluation import Reference, SplitName

RESAMPLES = 2000
RANDOM_DRAWS = 20
SEED = 0  # of the random draws and the bootstrap
SIMILARITY_TEMPERATURE = 0.1
BASELINE = Reference.SIMILARITY.value


@dataclass(frozen=True)
class HeldOutRow:
    """One policy on the test split. Differences are paired, to the similarity row. Their intervals are 95 %.

    Attributes:
        preferred: mean over the questions, in reward units.
        agreement: mean over the questions whose beams differ in reward, in [0, 1]. NaN without such a question.
        accuracy: by number of shots, where a rule answers. `accuracy_gain` is about the last one.
    """

    name: str
    preferred: float
    preferred_gain: Difference | None
    agreement: float
    agreement_gain: Difference | None
    accuracy: tuple[float, ...] | None
    accuracy_gain: Difference | None


@dataclass(frozen=True)
class _Measured:
    preferred_Q: Float64Array
    agreement_Q: Float64Array
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
        validation: its reward counts.
        policies: selectors by row name, on the CPU.
        images: the image of every item, as `choose_questions` takes them.
    """
    if not len(dataset.indices(Split.TEST)):
        return []
    data = TensorData(dataset, torch.device("cpu"))
    questions = choose_questions(dataset, SplitName.TEST, None, SEED, images)
    place_Q = np.argsort(np.argsort(questions.queries_Q))  # of each question among the queries of the split
    world = demo_world(settings.demo) if settings.path is None else None

    def measure(model: PointerSelector | None) -> _Measured:
        order = measure_order(model, data, validation, Split.TEST)
        accuracy = None if world is None else _accuracies(world, questions, _shown(model, questions, dataset))
        return _Measured(order.preferred_Q[place_Q], order.agreement_Q[place_Q], accuracy)

    similarity = similarity_selector(dataset.width)
    models: dict[str, PointerSelector | None] = {Reference.RANDOM.value: None, BASELINE: similarity, **policies}
    measured = {name: measure(model) for name, model in models.items()}
    low, high = reward_range(validation.reward)
    return _rows(measured, Bootstrap(questions.clusters_Q, RESAMPLES, SEED), Ends(low - high, high - low, 1))


def _shown(model: PointerSelector | None, questions: Questions, dataset: Dataset) -> Int64Array:
    """Items that a policy shows, [D, Q, S]."""
    if model is None:
        return select_randomly(questions, dataset.picks, RANDOM_DRAWS, SEED).picks_DQS
    return select_with(PolicyRow("", RowKind.TRIAL), model, questions, dataset, dataset.picks).picks_DQS


def _accuracies(world: DemoWorld, questions: Questions, shown_DQS: Int64Array) -> list[Float64Array]:
    """Accuracy of every question with the first 1 to S picks, mean over the draws."""
    D, Q, S = shown_DQS.shape
    asked = np.tile(questions.items_Q, D)
    by_shots = [world.outcomes(asked, shown_DQS.reshape(D * Q, S)[:, :shots]) for shots in range(1, S + 1)]
    return [found[Outcome.ACC_SCORE].astype(np.float64).reshape(D, Q).mean(axis=0) for found in by_shots]


def _rows(measured: Mapping[str, _Measured], bootstrap: Bootstrap, rewards: Ends) -> list[HeldOutRow]:
    """Means and differences of all rows, from one bootstrap."""
    names, found = list(measured), list(measured.values())
    preferred = _gains(names, [one.preferred_Q for one in found], bootstrap, rewards)
    agreement = _gains(names, [one.agreement_Q for one in found], bootstrap, DIFFERENCES)
    last = [one.accuracy_SQ[-1] for one in found if one.accuracy_SQ is not None]
    accuracy = _gains(names, last, bootstrap, DIFFERENCES) if last else {}
    return [
        HeldOutRow(
            name=name,
            preferred=float(one.preferred_Q.mean()),
            preferred_gain=preferred.get(name),
            agreement=_mean(one.agreement_Q),
            agreement_gain=agreement.get(name),
            accuracy=tuple(float(shot.mean()) for shot in one.accuracy_SQ) if one.accuracy_SQ is not None else None,
            accuracy_gain=accuracy.get(name),
        )
        for name, one in measured.items()
    ]


def _gains(
    names: Sequence[str], values: Sequence[Float64Array], bootstrap: Bootstrap, ends: Ends
) -> dict[str, Difference | None]:
    """The difference to similarity of every other row by one measure, [Q] each, as one family."""
    baseline = names.index(BASELINE)
    pairs = [(place, baseline) for place in range(len(names)) if place != baseline]
    found = differences(bootstrap, np.stack(values)[:, :, None], pairs, np.ones(len(names)), ends)
    records = [row[0] for row in difference_records(found, slice(0, 1))]
    return {names[place]: record for (place, _), record in zip(pairs, records, strict=True)}


def _mean(values_Q: Float64Array) -> float:
    known_Q = values_Q[~np.isnan(values_Q)]
    return float(known_Q.mean()) if len(known_Q) else math.nan


def row_dict(row: HeldOutRow) -> dict[str, Any]:
    """Plain values for JSON."""

    def gain(difference: Difference | None) -> dict[str, Any] | None:
        return None if difference is None else difference.model_dump(mode="json")

    return {
        "name": row.name,
        "test_preferred_reward": row.preferred,
        "test_preferred_reward_minus_similarity": gain(row.preferred_gain),
        "test_order_agreement": None if math.isnan(row.agreement) else row.agreement,
        "test_order_agreement_minus_similarity": gain(row.agreement_gain),
        "test_accuracy_by_shots": row.accuracy,
        "test_accuracy_minus_similarity": gain(row.accuracy_gain),
    }
