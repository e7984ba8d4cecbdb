"""One trial of `trials`: says that it is ready, and trains some epochs whenever it is told to go."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch

from benchmarks.gpu_check.epochs import stages, users_dataset, users_settings
from benchmarks.gpu_check.trials import EPOCHS
from benchmarks.rates import seconds_of
from selector.batches import TensorData
from selector.settings import ValidationSettings
from selector.validation import Evaluator


def say(**values: Any) -> None:  # noqa: ANN401 - numbers
    """One line to who started this."""
    print(json.dumps(values), flush=True)


def main() -> None:
    """Arguments: device, size, number (the seed)."""
    began = time.perf_counter()
    device, tiny, number = torch.device(sys.argv[1]), sys.argv[2] == "tiny", int(sys.argv[3])
    torch.set_num_threads(1)
    data = TensorData(users_dataset(tiny), device)
    settings = users_settings("gate", 32, tiny).model_copy(update={"seed": number})
    (_, rce), (_, grpo) = stages(settings, data, Evaluator(data, ValidationSettings()))
    epochs = 1 if tiny else EPOCHS
    report = next(rce)
    next(grpo)
    say(start_s=time.perf_counter() - began)
    for _ in sys.stdin:
        seconds = seconds_of(lambda: [(next(rce), next(grpo)) for _ in range(epochs)], device)
        peak = round(torch.cuda.max_memory_allocated(device) / 1e6) if device.type == "cuda" else None
        say(seconds=seconds, queries=2 * epochs * report.train_queries, epochs=2 * epochs, peak_mb=peak)


if __name__ == "__main__":
    main()
