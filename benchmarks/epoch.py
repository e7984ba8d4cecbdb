"""An epoch of GRPO as it is against the same with nothing kept: every policy computed anew for every batch.

    python -m benchmarks.epoch [--rounds 5] [--random]

Shape: as `benchmarks.encoding`, by which OK-VQA is read if it is there. One thread. Both sides train the same trial
from the same weights, epoch by epoch in turn. What counts is processor time of the process, without validation. Beside
it stands the rate of a square product, measured in the same rounds, and the FLOPs of all products of one batch as torch
counts them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.encoding import OKVQA, SETTINGS, random_dataset
from benchmarks.rates import matmul_rate
from selector.batches import EpochNoise, TensorData
from selector.data import DataSettings, load
from selector.model import PointerSelector
from selector.settings import TrialSettings, ValidationSettings
from selector.training import GrpoStage, RceStage
from selector.training.stage import EpochMeans
from selector.validation import Evaluator, ValidationResult

VARIANTS = {
    "static": {"model": {"decoder": "static"}},
    "gate": {"model": {"decoder": "gate"}},
    "static, frozen backbone": {"model": {"decoder": "static"}, "grpo": {"freeze_backbone": True}},
    "gate, frozen backbone": {"model": {"decoder": "gate"}, "grpo": {"freeze_backbone": True}},
}
CPU = torch.device("cpu")


class Timed(Evaluator):
    """Knows how long it took, in seconds of processor time."""

    seconds = 0.0

    def __call__(self, model: PointerSelector) -> ValidationResult:
        """As of an evaluator."""
        started = time.process_time()
        result = super().__call__(model)
        self.seconds += time.process_time() - started
        return result


@contextmanager
def nothing_kept() -> Iterator[None]:
    """As it was before: no table has room, and denormal numbers are computed."""
    with (
        patch("selector.training.frozen.LARGEST_TABLE", 0),
        patch("selector.training.stage.flushed_denormals", nullcontext),
    ):
        yield


class Side:
    """One of the two: a stage, and what its epochs cost."""

    def __init__(self, settings: TrialSettings, data: TensorData, *, kept: bool) -> None:
        self._mode = nullcontext if kept else nothing_kept
        self._evaluate = Timed(data, ValidationSettings())
        with self._mode():
            weights = RceStage(settings, data, self._evaluate).reference_weights()
            self.stage = GrpoStage(settings, data, self._evaluate, weights)
            self._epochs = iter(self.stage)
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def epoch(self) -> float:
        """Train one. Returns its seconds per query."""
        self._evaluate.seconds = 0.0
        with self._mode():
            started = time.process_time()
            report = next(self._epochs)
            seconds = time.process_time() - started - self._evaluate.seconds
        self.losses += [report.train_loss, report.val_loss]
        self.seconds.append(seconds / report.train_queries)
        return self.seconds[-1]

    def flops(self) -> float:
        """Of the products of one batch, per query."""
        stage, size = self.stage, self.stage.options.batch_size
        noise = EpochNoise(stage.queries, 2, stage.settings.model.hidden, stage.settings.model.dropout, "flops")
        batch = stage.data.batch(noise.order[:size])
        with self._mode(), FlopCounterMode(display=False) as counter:
            stage._update(batch, noise, EpochMeans()).backward()  # type: ignore[no-untyped-call]
        return counter.get_total_flops() / size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--random", action="store_true", help="random data even if OK-VQA is there")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    real = OKVQA.is_dir() and not arguments.random
    data = TensorData(load(DataSettings(path=OKVQA)) if real else random_dataset(), CPU)
    print(f"data: {'OK-VQA rl_data.json' if real else 'random, OK-VQA shape'}")
    for name in arguments.variants:
        print(measure(name, data, arguments.rounds))


def measure(name: str, data: TensorData, rounds: int) -> str:
    """One line of the table."""
    changes = VARIANTS[name]
    merged = {
        part: {**values, **changes.get(part, {})}
        for part, values in SETTINGS.model_dump().items()
        if isinstance(values, dict)
    }
    settings = TrialSettings.model_validate(merged)
    before, now = Side(settings, data, kept=False), Side(settings, data, kept=True)
    for side in (before, now):
        side.epoch()  # the first epoch has no old policy
    ratios, rates = [], []
    for _ in range(rounds):
        rates.append(matmul_rate(CPU, torch.float32, side=1024))
        ratios.append(before.epoch() / now.epoch())
    apart = max(abs(one - other) for one, other in zip(before.losses, now.losses, strict=True))
    rate = statistics.median(rates)
    columns = []
    for word, side in (("before", before), ("now", now)):
        seconds, flops = statistics.median(side.seconds[1:]), side.flops()
        columns.append(
            f"{word} {seconds * 1e3:.3f} ms/query, {flops / 1e6:.1f} MFLOP, {flops / seconds / rate:.0%} of the rate"
        )
    return (
        f"{name}: {columns[0]}; {columns[1]}; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
        f"{max(ratios):.2f}); square product {rate / 1e9:.0f} GFLOP/s; largest difference of a loss {apart:.1e}"
    )


if __name__ == "__main__":
    main()
