"""Every metric that costs nothing, on the validation split, for the rows of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from selector.arrays import Float64Array
from selector.batches import TensorData
from selector.model import PointerSelector
from selector.order import measure_order
from selector.settings import ValidationMetric
from selector.validation import Evaluator
from sweep.evaluation.analysis import correlated_rows
from sweep.evaluation.audit import audit
from sweep.evaluation.records import Evaluation
from sweep.plan.plan import Plan
from sweep.plan.splits import informative_groups
from sweep.results.policies import Policy

PREFERRED_REWARD = "preferred-beam reward, negated"


def with_audit(evaluation: Evaluation, plan: Plan, found: Sequence[Policy]) -> Evaluation:
    """The evaluation with its audit of metrics. As it is where no row has a selector.

    Args:
        evaluation: its rows are named as the policies are.
        plan: the run's: its validation settings are those that ranked the trials.
        found: the policies of the rows.
    """
    rows, accuracies = correlated_rows(evaluation.rows)
    loaders = {one.row.name: one.load for one in found}
    if not rows or any(row.name not in loaders for row in rows):
        return evaluation
    metrics = _metrics(plan, [loaders[row.name]() for row in rows])
    owners = [row.name if row.trial is None else row.trial for row in rows]
    ranked = plan.space.validation.metric.value
    return evaluation.replace(
        audit=audit(metrics, np.array(accuracies, dtype=np.float64), owners, ranked, evaluation.settings.seed)
    )


def _metrics(plan: Plan, models: Sequence[PointerSelector]) -> dict[str, Float64Array]:
    """Each metric of each model, lower is better. Listwise forms need a group with contrast."""
    data, validation = TensorData(plan.dataset, torch.device("cpu")), plan.space.validation
    kinds = list(ValidationMetric) if informative_groups(plan.summary) else [ValidationMetric.RCE]
    evaluators = {kind.value: Evaluator(data, validation.replace(metric=kind)) for kind in kinds}
    found = {name: np.array([evaluate(model).loss for model in models]) for name, evaluate in evaluators.items()}
    rewards = [float(measure_order(model, data, validation).preferred_Q.mean()) for model in models]
    return {**found, PREFERRED_REWARD: -np.array(rewards)}
