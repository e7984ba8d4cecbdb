"""Both stages in a row, without Ray: `for report in train(settings, dataset): ...`."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from selector.batches import TensorData
from selector.data.dataset import Dataset
from selector.model import PointerSelector
from selector.reports import EpochReport
from selector.settings import TrialSettings, ValidationSettings
from selector.training.grpo import GrpoStage
from selector.training.rce import RceStage
from selector.validation import Evaluator


class Training:
    """One trial. Iterate for a report per epoch. `model` is the current selector, `reference` the RCE policy.

    With `init` training begins with these weights instead of the seed's.
    """

    def __init__(
        self,
        settings: TrialSettings,
        dataset: Dataset,
        validation: ValidationSettings | None = None,
        device: str | torch.device = "cpu",
        init: dict[str, Tensor] | None = None,
    ) -> None:
        self.settings = settings
        self._data = TensorData(dataset, torch.device(device))
        self._evaluate = Evaluator(self._data, validation or ValidationSettings())
        self._rce = RceStage(settings, self._data, self._evaluate, init)
        if settings.grpo.epochs:  # data that the second stage cannot use is refused before the first is trained
            GrpoStage(settings, self._data, self._evaluate, self._rce.reference_weights())
        self.model: PointerSelector = self._rce.model
        self.reference: PointerSelector = self._rce.reference

    def __iter__(self) -> Iterator[EpochReport]:
        yield from self._rce
        if self.settings.grpo.epochs:
            grpo = GrpoStage(self.settings, self._data, self._evaluate, self._rce.reference_weights())
            self.model, self.reference = grpo.model, grpo.reference
            yield from grpo


def train(
    settings: TrialSettings,
    dataset: Dataset,
    validation: ValidationSettings | None = None,
    device: str | torch.device = "cpu",
    init: dict[str, Tensor] | None = None,
) -> Iterator[EpochReport]:
    """Reports of RCE, then GRPO. Raises DataError or SettingsError at once if the data cannot serve them."""
    return iter(Training(settings, dataset, validation, device, init))
