"""A selector trained between two rounds on all that is measured so far, to propose the next beams."""

from __future__ import annotations

import numpy as np
import torch

from selector.batches import TensorData
from selector.data.dataset import Dataset, Split
from selector.hashes import array_parts, content_hash
from selector.model import PointerSelector
from selector.settings import TrialSettings, ValidationMetric, ValidationSettings
from selector.threads import intra_op_threads
from selector.training.rce import RceStage
from selector.validation import Evaluator
from sweep.settings.rounds import OnlineSelector


def train_online(settings: OnlineSelector, dataset: Dataset, seed: int) -> PointerSelector:
    """Train from scratch on one thread, so that equal data and seed give equal weights on the same kind of machine.

    Only training queries give gradients. The metric that is computed beside it exists for every validation group.

    Args:
        settings: size, training, and how many queries it learns from.
        dataset: what is measured so far.
        seed: decides weights, order and which queries.
    """
    queries = min(settings.queries, len(dataset.indices(Split.TRAIN)))
    trial = TrialSettings(seed=seed, model=settings.model, rce=settings.rce, train_queries=queries)
    with intra_op_threads(1):  # the same sums on every machine
        data = TensorData(dataset, torch.device("cpu"))
        stage = RceStage(trial, data, Evaluator(data, ValidationSettings(metric=ValidationMetric.RCE)))
        for _ in stage:
            pass
    return stage.model.eval()


def selector_fingerprint(model: PointerSelector) -> str:
    """SHA-256 of the weights by name, 64 hex digits."""
    weights = {name: np.asarray(value.detach().cpu().numpy()) for name, value in sorted(model.state_dict().items())}
    return content_hash(part for name, array in weights.items() for part in (name.encode(), *array_parts(array)))
