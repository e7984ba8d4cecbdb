"""Small search spaces and contexts for tests. The demo data at this size trains an epoch in tens of milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from selector.batches import TensorData
from selector.data import Dataset, DataSettings, load
from selector.data.settings import DemoSettings
from selector.settings import HealthSettings, TrialSettings, ValidationSettings
from selector.validation import Evaluator
from sweep.driver.create import NewRun, create_run
from sweep.runs.paths import RunPaths, sqlite_url
from sweep.storage.local import stored_at
from sweep.study import AskedTrial, StudyOwner
from sweep.trials.failures import reached
from sweep.trials.messages import EpochResult, TrialContext
from sweep.trials.trial import Trial
from tests.selector.worlds import deterministic
from tests.sweep.plans import plan_of_space

SMALL = """
name: small
data: {demo: {items: 300, queries: 60}}
trial:
  model: {hidden: 16, heads: 2, dropout: 0.2}
  rce: {epochs: 2, lr: 1e-3, reward: {mode: hard_plus_soft}}
  grpo: {epochs: 3}
parameters:
  grpo.kl_beta: {type: float, low: 0.01, high: 0.5, log: true}
  grpo.lr: {type: float, low: 1e-5, high: 1e-2, log: true}
  reward.mode: {type: categorical, choices: [hard_plus_soft, separated]}
sampler: {type: tpe, n_startup_trials: 3}
pruner: {type: median, n_startup_trials: 2}
budget: {trials: 6}
"""

SETTINGS = TrialSettings.model_validate(
    {
        "model": {"hidden": 16, "heads": 2, "dropout": 0.2, "decoder": "gate"},
        "rce": {"epochs": 3, "lr": 1e-3},
        "grpo": {"epochs": 5, "lr": 1e-3, "old_policy_refresh": 2, "adaptive_beta": {"enabled": True}},
    }
)


def small_dataset() -> Dataset:
    return load(DataSettings(demo=DemoSettings(items=300, queries=60)))


def context(
    run_folder: Path, dataset: Dataset, keep_epochs: int = 2, shots: int | None = None, **health: object
) -> TrialContext:
    return TrialContext(
        run_folder=str(run_folder),
        session="here",
        validation=ValidationSettings(),
        health=HealthSettings.model_validate(health),
        keep_epochs=keep_epochs,
        data_fingerprint=dataset.fingerprint(),
        versions={"torch": torch.__version__},
        shots=shots,
    )


def run_of(shared: TrialContext) -> RunPaths:
    return reached(shared)


def trial(shared: TrialContext, dataset: Dataset, number: int = 0, settings: TrialSettings = SETTINGS) -> Trial:
    data = TensorData(dataset, torch.device("cpu"))
    return Trial(shared, run_of(shared), number, settings, data, Evaluator(data, shared.validation, shots=shared.shots))


def numbers(results: list[EpochResult]) -> list[dict[str, object]]:
    """What must be equal between equal trials."""
    return [deterministic(result.report) for result in results]


def complete_run(folder: Path) -> RunPaths:
    """The run `mine` with one complete trial, made without Ray."""
    file = folder / "space.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(SMALL) | {"budget": {"trials": 2}}))
    plan = plan_of_space(file)
    paths = create_run(plan, NewRun(stored_at(folder), "mine"))
    owner = StudyOwner.open(sqlite_url(paths.study_file), "mine", plan.space)
    asked = owner.ask()
    assert isinstance(asked, AskedTrial)
    results = list(trial(context(paths.root.local(), plan.dataset), plan.dataset, asked.number, asked.settings))
    for result in results:
        owner.report(0, result.report.step, result.report.val_loss)
    assert results[-1].best is not None
    owner.complete(0, results[-1].best.val_loss)
    owner.close()
    return paths
