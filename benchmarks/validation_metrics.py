"""Which validation metric ranks selectors as answers do: Spearman correlation over checkpoints on the demo world.

    python -m benchmarks.validation_metrics [--configurations 16] [--points]

The demo model measures the beams of spaces/grpo.yaml. Configurations are spread over learning rates, epochs of the
warm-up, betas, clip ranges and all reward modes, each with a seed and so a warm-up of its own. Kept are the warm-up
and epochs 2, 5 and 10 of GRPO. Of each checkpoint every metric is computed on the validation split, and the demo model
answers the test questions with the demonstrations it selects (1 to 4 shots, mean accuracy).

Checkpoints of one configuration resemble each other, so intervals come from a bootstrap over configurations (95 %,
percentiles). Two columns have one checkpoint per configuration: the warm-ups, and the ends of GRPO. The last column
counts the configurations whose end of GRPO is better than their warm-up.
"""

from __future__ import annotations

import argparse
import copy
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr  # type: ignore[import-untyped]

from selector.arrays import Float64Array, Int64Array
from selector.batches import TensorData
from selector.data import Dataset
from selector.model import PointerSelector
from selector.order import measure_order
from selector.reports import Stage
from selector.settings import RewardMode, TrialSettings, ValidationMetric
from selector.training import Training
from selector.validation import Evaluator
from sweep.collect.beams import propose_beams
from sweep.collect.measure import Measurement
from sweep.evaluation.accuracies import AnswerBook, Board
from sweep.evaluation.questions import choose_questions
from sweep.evaluation.rows import Panel, PolicyRow, RowKind, select_with
from sweep.items import ItemTable
from sweep.plan.items import open_source
from sweep.runs.paths import SharedPaths
from sweep.settings.evaluation import SplitName
from sweep.space import SearchSpace, load_space
from sweep.space.addresses import Scalar, with_values
from sweep.storage.local import stored_at
from sweep.vlm.engine.engine import Engine
from sweep.vlm.work import Result, WorkItem
from sweep.vqa.accuracy import AnswerNormalisation, accuracy

SPACE = "spaces/grpo.yaml"
GRPO_EPOCHS = (2, 5, 10)
SHOTS = (1, 2, 3, 4)
RESAMPLES = 10_000
REWARD = "expected reward, negated"
PREFERRED = "reward of the preferred beam, negated"
ORDER = "pairs of beams in order, negated"


@dataclass(frozen=True)
class Checkpoint:
    """A selector at the end of an epoch. `metrics`: lower is better for each."""

    configuration: int
    stage: Stage
    epoch: int
    model: PointerSelector
    metrics: Mapping[str, float]


class Clock:
    """Processor time of this process, so that others on the machine count little."""

    def __init__(self) -> None:
        self._before = time.process_time()

    def say(self, what: str) -> None:
        """Print what has been done since the last time."""
        now = time.process_time()
        print(f"{what} ({now - self._before:.0f} s)", flush=True)
        self._before = now


def configurations(trial: TrialSettings, count: int) -> Iterator[TrialSettings]:
    """Spread settings: in each range one value per equally wide part of it, the parts dealt out at random."""
    deal = random.Random(0)

    def spread(low: float, high: float) -> list[float]:
        parts = [low * (high / low) ** ((part + deal.random()) / count) for part in range(count)]
        deal.shuffle(parts)
        return parts

    modes = [mode for mode in RewardMode if mode is not RewardMode.LEGACY]
    modes = (modes * -(-count // len(modes)))[:count]
    deal.shuffle(modes)
    columns: dict[str, Sequence[float]] = {
        "rce.lr": spread(1e-4, 3e-3),
        "rce.epochs": [round(value) for value in spread(1, 10)],
        "grpo.lr": spread(5e-5, 4e-3),
        "grpo.kl_beta": spread(0.01, 1.0),
        "grpo.clip_epsilon": spread(0.05, 0.3),
    }
    for number in range(count):
        values: dict[str, Scalar] = {path: column[number] for path, column in columns.items()}
        values |= {"seed": number, "reward.mode": modes[number].value, "grpo.ppo_clip_only": number % 4 == 3}
        yield with_values(trial, values)


def collected(space: SearchSpace, table: ItemTable, source: SharedPaths, engine: Engine) -> Dataset:
    """The space's beams, answered by the engine in this process."""
    if space.collect is None:
        raise ValueError(f"{SPACE} has no section collect")
    items = open_source(space, source)
    settings = items.collect_settings(space.collect)

    beams = propose_beams(settings, table, items.tables(settings).table)
    measurement = Measurement(beams, table, partial(accuracy, normalisation=settings.metric), gt_prob=settings.gt_prob)
    asked = list(beams.work_items())
    for item, result in zip(asked, engine.answer(table, asked, score=settings.gt_prob), strict=True):
        measurement.add(item, result)
    return measurement.collected().dataset


def trained(space: SearchSpace, dataset: Dataset, count: int) -> Iterator[Checkpoint]:
    """All kept epochs of all configurations, with every metric."""
    data = TensorData(dataset, torch.device("cpu"))
    evaluators = {metric.value: Evaluator(data, space.validation.replace(metric=metric)) for metric in ValidationMetric}
    for number, settings in enumerate(configurations(space.trial, count)):
        training = Training(settings, dataset, space.validation)
        for report in training:
            ends_warm_up = report.stage is Stage.RCE and report.epoch == settings.rce.epochs
            if ends_warm_up or (report.stage is Stage.GRPO and report.epoch in GRPO_EPOCHS):
                model = copy.deepcopy(training.model).eval()
                found = {name: evaluate(model) for name, evaluate in evaluators.items()}
                metrics = {name: result.loss for name, result in found.items()}
                metrics[REWARD] = -found[ValidationMetric.LISTWISE].reward
                order = measure_order(model, data, space.validation)
                metrics[PREFERRED] = -float(order.preferred_Q.mean())
                metrics[ORDER] = -float(np.nanmean(order.agreement_Q))
                yield Checkpoint(number, report.stage, report.epoch, model, metrics)


def accuracies(
    checkpoints: Sequence[Checkpoint], dataset: Dataset, table: ItemTable, engine: Engine
) -> tuple[Float64Array, int, int]:
    """Mean accuracy over 1 to 4 shots per checkpoint, the number of questions, and that of distinct prompts."""
    images = [table.image_id(item) for item in range(len(table))]
    questions = choose_questions(dataset, SplitName.TEST, None, 0, images)
    selections = tuple(
        select_with(PolicyRow(str(place), RowKind.EPOCH), one.model, questions, dataset, SHOTS[-1])
        for place, one in enumerate(checkpoints)
    )

    def ask(items: Sequence[WorkItem]) -> dict[WorkItem, Result]:
        return dict(zip(items, engine.answer(table, items), strict=True))

    def score(item: int, text: str, normalisation: AnswerNormalisation) -> float:
        return accuracy(text, table.answers(item), normalisation)

    book = AnswerBook(ask, score, failure_limit=0.0)
    board = Board(Panel(questions, selections), SHOTS, (AnswerNormalisation.OFFICIAL,), book)
    rows = range(len(checkpoints))
    book.ask(board.items(rows, 0, len(questions)))
    board.fill(rows, 0, len(questions))
    return board.accuracy_RQS[AnswerNormalisation.OFFICIAL].mean(axis=(1, 2)), len(questions), len(book)


def correlation(values: Float64Array, accuracy_P: Float64Array, owner_P: Int64Array) -> str:
    """Spearman correlation and its interval over resampled configurations."""
    rho = float(spearmanr(values, accuracy_P).statistic)
    groups = [np.flatnonzero(owner_P == owner) for owner in np.unique(owner_P)]
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([groups[place] for place in generator.integers(len(groups), size=len(groups))])
        if np.ptp(values[drawn]) and np.ptp(accuracy_P[drawn]):
            draws.append(float(spearmanr(values[drawn], accuracy_P[drawn]).statistic))
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]"


def report(checkpoints: Sequence[Checkpoint], accuracy_P: Float64Array, tau: float) -> None:
    """Print the table."""
    owner_P = np.array([one.configuration for one in checkpoints])
    kept = {
        "all": np.ones(len(checkpoints), dtype=bool),
        "warm-ups": np.array([one.stage is Stage.RCE for one in checkpoints]),
        "ends of GRPO": np.array([one.stage is Stage.GRPO and one.epoch == GRPO_EPOCHS[-1] for one in checkpoints]),
    }
    headers = [f"{name} ({int(mask.sum())})" for name, mask in kept.items()] + ["better after GRPO"]
    print(f"\n{'metric':40}" + "".join(f"{header:>24}" for header in headers))
    first, last = kept["warm-ups"], kept["ends of GRPO"]  # both in the order of the configurations
    for name in checkpoints[0].metrics:
        values = np.array([one.metrics[name] for one in checkpoints])
        cells = [correlation(values[mask], accuracy_P[mask], owner_P[mask]) for mask in kept.values()]
        cells.append(f"{int((values[last] < values[first]).sum())} of {int(first.sum())}")
        label = f"{name}, tau {tau:g}" if name.startswith("listwise") else name
        print(f"{label:40}" + "".join(f"{cell:>24}" for cell in cells))
    better = int((accuracy_P[last] > accuracy_P[first]).sum())
    print(f"{'accuracy':40}" + " " * 24 * len(kept) + f"{f'{better} of {int(first.sum())}':>24}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--configurations", type=int, default=16, help="each gives four checkpoints")
    parser.add_argument("--points", action="store_true", help="also print every checkpoint")
    options = parser.parse_args()
    if options.configurations < 4:
        parser.error(f"--configurations {options.configurations}: at least 4, or there is no correlation to speak of")
    space = load_space(SPACE)
    if space.vlm is None:
        raise ValueError(f"{SPACE} has no section vlm")
    torch.set_num_threads(1)  # all three parts are many small products
    clock = Clock()
    engine = Engine(space.vlm, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        shared = SharedPaths(stored_at(Path(folder)))
        table = open_source(space, shared).table
        dataset = collected(space, table, shared, engine)
        clock.say(f"{len(dataset.beam_picks)} beams measured")
        checkpoints = list(trained(space, dataset, options.configurations))
        clock.say(f"{len(checkpoints)} checkpoints of {options.configurations} configurations trained")
        accuracy_P, questions, prompts = accuracies(checkpoints, dataset, table, engine)
        clock.say(f"{questions} questions with 1 to 4 shots answered, {prompts} different prompts")
    print(f"accuracy of the checkpoints: {100 * accuracy_P.min():.1f} to {100 * accuracy_P.max():.1f} %")
    if options.points:
        for one, value in zip(checkpoints, accuracy_P, strict=True):
            metrics = "  ".join(f"{name} {number:.4f}" for name, number in one.metrics.items())
            print(f"{one.configuration:>3} {one.stage} epoch {one.epoch:>2}  accuracy {100 * value:.1f}  {metrics}")
    report(checkpoints, accuracy_P, space.validation.tau)


if __name__ == "__main__":
    main()
