"""Epochs of both stages in the users' shape, on the CPU and on the card.

1,000 training queries x 20 beams of 2 picks x 64 candidates, width 768, hidden 256, one layer: random data of OK-VQA's
shape. An epoch is timed by the clock, validation included, after one that is not counted. Both devices write a line of
their own; `report` divides.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.encoding import random_dataset
from benchmarks.gpu_check.record import Options, Result, run_group
from benchmarks.rates import seconds_of
from selector.batches import TensorData
from selector.data import Dataset
from selector.reports import EpochReport
from selector.settings import TrialSettings, ValidationSettings
from selector.training import GrpoStage, RceStage
from selector.training.stage import copy_weights
from selector.validation import Evaluator

EPOCHS = 2
BATCHES = (32, 256)


def users_dataset(tiny: bool) -> Dataset:
    """What is trained on."""
    return random_dataset(queries=400, beams=6, pool=12, width=32) if tiny else random_dataset(queries=1300, width=768)


def users_settings(decoder: str, batch: int, tiny: bool, epochs: int = 1000) -> TrialSettings:
    """How it is trained."""
    section = {"epochs": epochs, "batch_size": batch}
    model = {"hidden": 32 if tiny else 256, "layers": 1, "dropout": 0.5, "decoder": decoder}
    return TrialSettings.model_validate({"model": model, "rce": section, "grpo": section})


def stages(
    settings: TrialSettings, data: TensorData, evaluate: Evaluator
) -> Iterator[tuple[str, Iterator[EpochReport]]]:
    """Both stages, ready to give epochs."""
    rce = RceStage(settings, data, evaluate)
    reference = copy_weights(rce.model)
    yield "rce", iter(rce)
    yield "grpo", iter(GrpoStage(settings, data, evaluate, reference))


def epochs_on(device: torch.device, batches: Sequence[int], timed: int, tiny: bool) -> Result:
    """Seconds per epoch and microseconds per query of both stages and decoders."""
    dataset = users_dataset(tiny)
    data = TensorData(dataset, device)
    evaluate = Evaluator(data, ValidationSettings())
    rows: list[dict[str, Any]] = []
    for batch in batches:
        for decoder in ("static", "gate"):
            for stage, epochs in stages(users_settings(decoder, batch, tiny), data, evaluate):
                report = next(epochs)
                if stage == "grpo":
                    report = next(epochs)  # the old policy is the reference in the first one, and costs nothing
                times = [seconds_of(lambda epochs=epochs: next(epochs), device) for _ in range(timed)]  # type: ignore[misc]
                seconds = statistics.median(times)
                row = {"stage": stage, "decoder": decoder, "batch": batch, "epoch_s": round(seconds, 4)}
                rows.append(row | {"query_us": round(seconds / report.train_queries * 1e6, 1)})
    return {"device": device.type, "threads": torch.get_num_threads(), "queries": report.train_queries, "rows": rows}


def epochs_cpu(options: Options) -> Result:
    """On this machine's processor, in the users' batch size alone, since it takes long enough."""
    return epochs_on(torch.device("cpu"), BATCHES[:1], 1, options.tiny)


def epochs_device(options: Options) -> Result:
    """On the card, with the memory that it takes."""
    found = epochs_on(options.device, BATCHES, 1 if options.tiny else EPOCHS, options.tiny)
    if options.on_gpu:
        found["peak_mb"] = round(torch.cuda.max_memory_allocated(options.device) / 1e6)
    return found


STEPS = {"epochs_cpu": epochs_cpu, "epochs_device": epochs_device}

if __name__ == "__main__":
    run_group(STEPS)
