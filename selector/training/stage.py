"""What both stages share: an epoch is a fixed function of (weights, optimiser state, seed, epoch number).

Nothing random runs between epochs, so a stage restored from `state()` continues to the bit.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from selector.arrays import Int64Array
from selector.batches import Batch, EpochNoise, TensorData
from selector.config import SelectorConfig
from selector.data.dataset import Dataset, Split
from selector.denormals import flushed_denormals
from selector.errors import DataError
from selector.model import PointerSelector, build_selector
from selector.optimizer import StageOptimizer
from selector.reports import EpochReport, Stage, WeightedMeans, parameter_change
from selector.seeds import derive_seed, hashed_order
from selector.settings import OptimizerSettings, TrialSettings
from selector.validation import Evaluator


@dataclass(frozen=True)
class StageState:
    """A stage between two epochs: tensors (weights, optimiser moments, ...) and plain numbers."""

    epoch: int
    tensors: dict[str, Tensor]
    numbers: dict[str, float] = field(default_factory=dict)

    def section(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose name starts with `prefix/`, without it."""
        return {name[len(prefix) + 1 :]: value for name, value in self.tensors.items() if name.startswith(prefix + "/")}


def with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `StageState.section`."""
    return {f"{prefix}/{name}": value for name, value in tensors.items()}


def copy_weights(model: PointerSelector) -> dict[str, Tensor]:
    """A detached copy of a model's state, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def new_selector(settings: TrialSettings, width: int, weights: dict[str, Tensor] | None = None) -> PointerSelector:
    """The trial's selector: initialised from its seed, or with the given weights."""
    config = SelectorConfig(width=width, **settings.model.model_dump(mode="json"))
    model = build_selector(config, derive_seed(settings.seed, "selector"))
    if weights is not None:
        model.load_state_dict(weights)
    return model


def training_queries(dataset: Dataset, settings: TrialSettings) -> Int64Array:
    """The queries that a trial is trained on, ascending: all of the train split, or `train_queries` of them.

    A query's rank depends on the trial's seed and its item alone. So the queries of a smaller trial are among those of
    a larger one under the same seed, and a learning curve over `train_queries` compares nested sets.

    Raises:
        DataError: the train split is empty, or has fewer queries.
    """
    queries = dataset.indices(Split.TRAIN)
    if not len(queries):
        raise DataError("the train split is empty: lower data.split.val and data.split.test")
    wanted = settings.train_queries
    if wanted is None:
        return queries
    count = wanted if isinstance(wanted, int) else max(round(wanted * len(queries)), 1)
    if count > len(queries):
        raise DataError(f"train_queries {count} is more than the {len(queries)} queries of the train split")
    order = hashed_order(dataset.query_items[queries], f"train:{settings.seed}:")
    return np.sort(queries[order[:count]])


class TrainingStage(ABC):
    """One stage of one trial. Iterating yields a report per epoch. Between epochs `state()` can be stored.

    Args:
        settings: the trial's.
        data: all splits. Only train queries give gradients.
        evaluate: the validation metric.
        model: trained in place.
        reference: frozen. Agreement and parameter change are measured against it.
    """

    stage: Stage

    def __init__(
        self,
        settings: TrialSettings,
        data: TensorData,
        evaluate: Evaluator,
        model: PointerSelector,
        reference: PointerSelector,
    ) -> None:
        self.settings = settings
        self.data = data
        self.evaluate = evaluate
        self.model = model.to(data.device)
        self.reference = reference.to(data.device).requires_grad_(False)
        self.queries: Int64Array = training_queries(data.dataset, settings)
        self.epoch = 0
        self._reference_picks = evaluate(self.reference).picks_QS
        self.optimizer = self._new_optimizer()

    @property
    @abstractmethod
    def options(self) -> OptimizerSettings:
        """The stage's own section of the settings."""

    @property
    @abstractmethod
    def epochs(self) -> int:
        """How many epochs the stage lasts."""

    @abstractmethod
    def _update(self, batch: Batch, noise: EpochNoise, means: EpochMeans) -> Tensor:
        """Loss of a batch (scalar), recording its statistics."""

    @abstractmethod
    def _stage_numbers(self, means: EpochMeans) -> dict[str, float | None]:
        """The fields of `EpochReport` that only this stage has."""

    @abstractmethod
    def _extra_state(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """What the stage holds besides model and optimiser."""

    @abstractmethod
    def _load_extra_state(self, state: StageState) -> None:
        """The inverse of `_extra_state`."""

    def _begin_epoch(self) -> None:  # noqa: B027 (a hook that not every stage needs)
        """Called before an epoch's first batch. `self.epoch` is already the new one."""

    def _after_epoch(self, report: EpochReport) -> None:  # noqa: B027
        """Called with the finished epoch's report."""

    def _epoch_queries(self, epoch: int) -> Int64Array:
        """Training queries of an epoch (from 1)."""
        return self.queries

    def _new_optimizer(self) -> StageOptimizer:
        size = self.options.batch_size
        updates = sum(math.ceil(len(self._epoch_queries(epoch)) / size) for epoch in range(1, self.epochs + 1))
        return StageOptimizer(self.model, self.options, updates)

    def __iter__(self) -> Iterator[EpochReport]:
        """Run the remaining epochs."""
        while self.epoch < self.epochs:
            with flushed_denormals():
                report = self._run_epoch()
            yield report

    def _run_epoch(self) -> EpochReport:
        self.epoch += 1
        self._begin_epoch()
        started = time.perf_counter()
        queries = self._epoch_queries(self.epoch)
        architecture = self.settings.model
        noise = EpochNoise(
            queries, architecture.layers + 1, architecture.hidden, architecture.dropout,
            self.settings.seed, self.stage, self.epoch,
        )  # fmt: skip
        means = EpochMeans()
        lr = self.optimizer.lr
        for batch in self.data.in_order(noise.order, self.options.batch_size):
            loss = self._update(batch, noise, means)
            means.per_query.add(len(batch.queries_B), loss=loss)
            means.per_update.add(1, grad_norm=self.optimizer.step(loss))
        trained = time.perf_counter() - started
        report = self._report(means, lr, len(queries), trained)
        self._after_epoch(report)
        return report

    def _report(self, means: EpochMeans, lr: float, queries: int, seconds: float) -> EpochReport:
        validation = self.evaluate(self.model)
        top1, sequence = validation.agreement(self._reference_picks)
        earlier = 0 if self.stage is Stage.RCE else self.settings.rce.epochs
        blank: dict[str, float | None] = dict.fromkeys(_STAGE_FIELDS)
        return EpochReport(
            stage=self.stage,
            epoch=self.epoch,
            step=earlier + self.epoch,
            train_loss=means.per_query["loss"],
            zero_variance_share=means.per_query["zero_variance"],
            lr=lr,
            grad_norm=means.per_update["grad_norm"],
            entropy=validation.entropy,
            agreement_top1=top1,
            agreement_sequence=sequence,
            parameter_change=parameter_change(self.model, self.reference),
            val_loss=validation.loss,
            val_reward=validation.reward,
            train_queries=queries,
            queries_per_second=queries / max(seconds, 1e-9),
            seconds=seconds,
            **(blank | self._stage_numbers(means)),
        )

    def state(self) -> StageState:
        """A copy of all that the next epoch depends on."""
        tensors, numbers = self._extra_state()
        return StageState(
            self.epoch,
            with_prefix("model", copy_weights(self.model)) | with_prefix("optimizer", self.optimizer.state()) | tensors,
            numbers,
        )

    def load_state(self, state: StageState) -> None:
        """Continue from `state()` of a stage with the same settings and data."""
        self.epoch = state.epoch
        self.model.load_state_dict(state.section("model"))
        self.optimizer.load_state(state.section("optimizer"))
        self._load_extra_state(state)


_STAGE_FIELDS = (
    "policy_loss", "kl", "kl_share", "ratio_mean", "ratio_min", "ratio_max", "clip_fraction",
    "advantage_mean", "advantage_std", "advantage_max", "beta", "tau",
)  # fmt: skip


class EpochMeans:
    """Running statistics of an epoch, weighted by queries, beams or updates."""

    def __init__(self) -> None:
        self.per_query = WeightedMeans()
        self.per_beam = WeightedMeans()
        self.per_update = WeightedMeans()
        self.highest: dict[str, Tensor] = {}

    def add_highest(self, **values: Tensor) -> None:
        """Keep the largest value seen under each name. NaN wins."""
        for name, value in values.items():
            seen = self.highest.get(name)
            self.highest[name] = value.detach() if seen is None else seen.maximum(value.detach())
