"""What one trial costs the study, beside how many finished ones: ours against Optuna's own TPE on the same study.

    python -m benchmarks.study [--sizes 100 1000 10000] [--trials 10]

A trial is one ask, a note of its worker, three reports with a look at the median pruner each, and its end. There are
8 parameters. Both sides work on equal copies of one filled study, in turn, and must propose the same. What counts is
processor time.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import tempfile
import time
import warnings
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert

from sweep.space import SearchSpace, parse_space
from sweep.study import AskedTrial, StudyOwner
from sweep.study.reading import read_summaries
from sweep.study.storage import open_study
from sweep.study.summaries import DETAILS, SLOT, Details, Slot, configuration_key
from sweep.study.tables import TRIALS, read_trials, write_trial

SPACE = """
name: scale
trial: {rce: {epochs: 1}, grpo: {epochs: 2}}
parameters:
  grpo.ppo_clip_only: {type: categorical, choices: [false, true]}
  grpo.kl_beta: {type: float, low: 0.01, high: 0.5, log: true, when: {grpo.ppo_clip_only: false}}
  grpo.lr: {type: float, low: 1.0e-5, high: 1.0e-3, log: true}
  grpo.batch_size: {type: int, low: 8, high: 64, step: 8}
  grpo.clip_epsilon: {type: float, low: 0.05, high: 0.4}
  grpo.advantage: {type: categorical, choices: [zscore, center, rank]}
  grpo.weight_decay: {type: float, low: 0.0, high: 0.1}
  model.dropout: {type: float, low: 0.0, high: 0.6}
sampler: {type: tpe}
pruner: {type: median}
budget: {trials: 1000000}
seed: 7
"""


def fill(url: str, space: SearchSpace, count: int) -> None:
    """Finished trials with random parameters, two thirds complete and one third pruned."""
    _, storage, _ = open_study(url, "s", space, time.time())
    rng, draws = np.random.default_rng(0), RandomSampler(seed=0)
    with storage._tables.engine.begin() as connection:
        rows = [{"study_id": storage.study_id, "number": n, "state": TrialState.RUNNING} for n in range(count)]
        connection.execute(insert(TRIALS), rows)
        for before in read_trials(connection, storage.study_id):
            write_trial(connection, before, _ended(before, space, rng, draws))
    storage.remove_session()


def _ended(before: FrozenTrial, space: SearchSpace, rng: np.random.Generator, draws: RandomSampler) -> FrozenTrial:
    values: dict[str, Any] = {}
    for path in space.order:
        if space.in_use(path, values):
            values[path] = draws.sample_independent(None, before, path, space.distributions[path])  # type: ignore[arg-type]
    level = abs(math.log10(values["grpo.lr"]) + 4) + float(rng.random())
    steps = {step: level + 1 / step for step in range(1, 4)}
    pruned = before.number % 3 == 2
    if pruned:
        steps.pop(3)
    settings = space.resolve(values, 0)
    known = Details(key=configuration_key(values), rce_epochs=1, seed=settings.seed, attempt=1)
    now = datetime.now()
    return FrozenTrial(
        number=before.number,
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        value=steps[max(steps)],
        datetime_start=now,
        datetime_complete=now,
        params=values,
        distributions={path: space.distributions[path] for path in values},
        user_attrs={SLOT: asdict(Slot(before.number, 0)), DETAILS: asdict(known)},
        system_attrs={},
        intermediate_values=steps,
        trial_id=before._trial_id,
    )


class Side:
    """One owner on its own copy."""

    def __init__(self, url: str, space: SearchSpace) -> None:
        started = time.process_time()
        self.owner = StudyOwner.open(url, "s", space)
        self.owner.adopt()
        self.opened = time.process_time() - started
        self.times: list[tuple[float, float]] = []

    def trial(self) -> dict[str, Any]:
        """One trial. Returns its parameters."""
        started = time.process_time()
        asked = self.owner.ask()
        assert isinstance(asked, AskedTrial)
        after_ask = time.process_time()
        self.owner.note_worker(asked.number, "node/1")
        for step in range(1, 4):
            self.owner.report(asked.number, step, 1.0 / step)
            self.owner.should_prune(asked.number)
        self.owner.complete(asked.number, 1 / 3)
        self.times.append((after_ask - started, time.process_time() - started))
        return asked.params

    def text(self) -> str:
        """Medians, without the first trial."""
        ask, whole = (statistics.median(values) * 1e3 for values in zip(*self.times[1:], strict=True))
        return f"ask {ask:.0f} ms, whole trial {whole:.0f} ms"


def optunas(_: object, **options: Any) -> TPESampler:  # noqa: ANN401
    """In the place of ours."""
    return TPESampler(**options)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument("--trials", type=int, default=10)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    space = parse_space(SPACE, "scale.yaml")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{name}.db" for name in ("ours", "optunas")]
            fill(f"sqlite:///{files[0]}", space, size)
            shutil.copyfile(files[0], files[1])
            started = time.process_time()
            read_summaries(f"sqlite:///{files[0]}", "s")
            read = time.process_time() - started
            ours, plain = (Side(f"sqlite:///{file}", space) for file in files)
            for _ in range(arguments.trials + 1):
                params = ours.trial()
                with patch("sweep.study.samplers.HistoryTpeSampler", optunas):
                    assert plain.trial() == params
            print(
                f"{size} finished trials: {ours.text()}; with Optuna's TPE {plain.text()}; the same proposals; "
                f"reading {read:.2f} s, opening and adopting {ours.opened:.2f} s"
            )
            ours.owner.close()
            plain.owner.close()


if __name__ == "__main__":
    main()
