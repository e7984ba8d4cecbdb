"""What a run of many trials costs its driver: a whole run in virtual time, with curves from a formula.

    python -m benchmarks.simulation [--trials 1000] [--slots 256] [--sampler random|tpe] [--profile FILE]

Study, coordinator, pruner, budget, observers and files are those of any run. Only training is left out. After each
tenth of the trials a line says what a trial costs by now, and how large the process and the study are. Then the run is
read as `status` and `report` read it. Seconds are of this process's processor.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import io
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, add_option, write
from selector.reports import EpochReport, Stage
from selector.seeds import derive_seed32
from sweep.driver.create import NewRun
from sweep.driver.run import execute
from sweep.execution.ray.options import RayOptions
from sweep.execution.simulated import SimulatedBackend
from sweep.plan.make import make_plan
from sweep.plan.plan import Plan, require_data
from sweep.plan.requests import request_of_space
from sweep.results.overview.make import overview
from sweep.results.status import read_status
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.storage.local import stored_at
from sweep.study import AskedTrial
from sweep.terminal.console import quiet

SPACE = """
name: many
data: {{demo: {{items: 200, queries: 20}}}}
trial: {{rce: {{epochs: 2}}, grpo: {{epochs: 10}}}}
parameters:
  rce.lr: {{type: float, low: 1e-5, high: 1e-3, log: true}}
  grpo.lr: {{type: float, low: 5e-6, high: 4e-3, log: true}}
  grpo.kl_beta: {{type: float, low: 0.01, high: 1.0, log: true}}
  grpo.clip_epsilon: {{type: float, low: 0.05, high: 0.3}}
  grpo.advantage_std_floor: {{type: float, low: 1e-4, high: 0.2, log: true}}
  grpo.freeze_backbone: {{type: categorical, choices: [false, true]}}
  reward.mode: {{type: categorical, choices: [hard_plus_soft, separated, hard_only, soft_only]}}
  model.dropout: {{type: categorical, choices: [0.0, 0.1, 0.3]}}
sampler: {sampler}
pruner: {{type: successive_halving, min_resource: 2, reduction_factor: 3}}
budget: {{trials: {trials}}}
"""
EMPTY = EpochReport(
    stage=Stage.GRPO, epoch=1, step=1, train_loss=0.0, policy_loss=None, kl=None, kl_share=None, ratio_mean=None,
    ratio_min=None, ratio_max=None, clip_fraction=None, advantage_mean=None, advantage_std=None, advantage_max=None,
    zero_variance_share=0.0, beta=None, tau=None, lr=0.0, grad_norm=0.0, entropy=0.0, agreement_top1=0.0,
    agreement_sequence=0.0, parameter_change={}, val_loss=0.0, val_reward=0.0, train_queries=0, queries_per_second=0.0,
    seconds=0.0,
)  # fmt: skip
"""Nothing was trained: only val_loss and seconds, which a formula gives, mean anything in these reports."""


def formula(trial: AskedTrial) -> Iterator[EpochReport]:
    """A curve that falls to a floor, which the learning rate and beta decide. Epochs take 1 to 2 seconds."""
    settings = trial.settings
    far = math.log10(settings.grpo.lr / 5e-4) ** 2 + 0.3 * math.log10(settings.grpo.kl_beta / 0.1) ** 2
    own = derive_seed32(trial.number, "formula") / 2**32
    for step in range(1, settings.total_epochs + 1):
        stage = Stage.RCE if step <= settings.rce.epochs else Stage.GRPO
        loss = 2.2 + 0.1 * min(far, 3.0) + 0.4 * math.exp(-step / 4) + 0.02 * own
        epoch = step if stage is Stage.RCE else step - settings.rce.epochs
        yield dataclasses.replace(EMPTY, stage=stage, epoch=epoch, step=step, val_loss=loss, seconds=1 + own)


@dataclass
class Meter:
    """Says from within the run what trials cost."""

    trials: int
    before: float = field(default_factory=time.process_time)
    asked: int = 0
    lines: list[str] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def curves(self, trial: AskedTrial) -> Iterator[EpochReport]:
        """As `formula`. Counts."""
        self.asked += 1
        part = max(1, self.trials // 10)
        if self.asked % part == 0:
            now = time.process_time()
            cost = 1e3 * (now - self.before) / part
            self.costs.append(cost)
            self.lines.append(f"{self.asked:>7,} trials: {cost:6.1f} ms each, {resident_megabytes():,.0f} MB resident")
            self.before = now
        return formula(trial)


def resident_megabytes() -> float:
    """Of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return float(status.partition("VmRSS:")[2].split()[0]) / 1024


def plan_of(folder: Path, trials: int, sampler: str) -> Plan:
    """The run to be."""
    file = folder / "many.yaml"
    file.write_text(SPACE.format(trials=trials, sampler=sampler), encoding="utf-8")
    return require_data(make_plan(request_of_space(str(file), SharedPaths.beside(stored_at(folder)))))


def simulated(folder: Path, trials: int, slots: int, sampler: str = "random") -> tuple[RunPaths, float]:
    """A whole run, and what a trial of it cost in ms: the median of its tenths."""
    plan = plan_of(folder, trials, sampler)
    meter = Meter(trials)
    backend = SimulatedBackend(meter.curves, slots)
    outcome = execute(
        plan, NewRun(stored_at(folder)), RayOptions(), partial(quiet, stream=io.StringIO()), simulated=backend
    )
    print(*meter.lines, sep="\n")
    return outcome.paths, statistics.median(meter.costs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--sampler", default="random", choices=("random", "tpe"))
    parser.add_argument("--profile", type=Path)
    add_option(parser)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        profile = cProfile.Profile()
        if asked.profile:
            profile.enable()
        began = time.monotonic()
        paths, each = simulated(Path(scratch), asked.trials, asked.slots, asked.sampler)
        profile.disable()
        if asked.profile:
            profile.dump_stats(asked.profile)
        what = f"{asked.trials:,} trials on {asked.slots} slots, sampler {asked.sampler}"
        print(
            f"{what}: {each:.1f} ms of processor time each (median of tenths), {time.monotonic() - began:.0f} s in all"
        )
        write(asked.figures, [Figure("simulation", "driver, a trial", each, "ms", "lower")])
        _sizes(paths)
        _readers(paths)


def _sizes(paths: RunPaths) -> None:
    files = [file for file in paths.root.local().rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    study = paths.study_file.local().stat().st_size
    print(f"study.db {study / 1e6:.1f} MB, run.log {paths.log_file.local().stat().st_size / 1e6:.1f} MB, "
          f"folder {size / 1e6:.1f} MB in {len(files):,} files")  # fmt: skip


def _readers(paths: RunPaths) -> None:
    for name, read in (("status", lambda: read_status(paths)), ("report", lambda: overview(paths))):
        began = time.process_time()
        read()
        print(f"{name}: {time.process_time() - began:.1f} s")


if __name__ == "__main__":
    main()
