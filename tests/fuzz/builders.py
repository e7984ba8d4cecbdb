"""What fuzzing begins with: small, good files of every form."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from selector.config import SelectorConfig
from selector.data import DataSettings, load
from selector.data.native import write_native
from selector.model import build_selector
from sweep.driver.create import NewRun, create_run
from sweep.evaluation.evaluate import evaluate
from sweep.evaluation.records import Evaluation, SourceRecord
from sweep.evaluation.rows import build_panel
from sweep.runs.paths import RunPaths
from sweep.settings.evaluation import EvaluationSettings
from sweep.space.files import shipped_spaces
from sweep.storage.local import stored_at
from sweep.trials.checkpoints import write_checkpoint
from sweep.trials.stored import best_epochs
from sweep.vlm.answers.parquet import Wanted
from sweep.vlm.answers.store import AnswerStore
from sweep.vlm.answers.writer import AnswerWriter
from sweep.vlm.work import Answer, Failure, FailureKind, WorkItem
from tests.selector.data.builders import older_data, rl_data, store
from tests.sweep.evaluation import worlds
from tests.sweep.items.builders import new_items, write_items
from tests.sweep.plans import plan_of_space
from tests.sweep.spaces import SMALL, context, small_dataset, trial

SHIPPED = {
    name: resources.files("search_spaces").joinpath(name).read_text(encoding="utf-8") for name in shipped_spaces()
}
FULL: dict[str, Any] = {
    "name": "full",
    "trial": {"grpo": {"epochs": 3}, "model": {"hidden": 16, "heads": 2}},
    "parameters": {
        "grpo.lr": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True},
        "grpo.kl_beta": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1},
        "grpo.batch_size": {"type": "int", "low": 16, "high": 64, "step": 16},
        "reward.mode": {"type": "categorical", "choices": ["hard_plus_soft", "separated"]},
        "grpo.adaptive_beta.enabled": {"type": "categorical", "choices": [True, False]},
        "grpo.adaptive_beta.factor": {
            "type": "float",
            "low": 1.2,
            "high": 3,
            "when": {"grpo.adaptive_beta.enabled": True},
        },
        "grpo.advantage": "rank",
    },
    "enqueue": [{"grpo.lr": 5e-5, "reward.mode": "separated"}],
    "sampler": {"type": "tpe", "n_startup_trials": 3},
    "pruner": {"type": "hyperband", "min_resource": 1},
    "budget": {"trials": 6, "hours": 2.5},
    "resources": {"cpus": 1, "gpus": 0.5},
    "max_disk_gb": 2.5,
}
ASKED = {WorkItem(number, (number + 1,)): Wanted(f"{number:064x}") for number in range(6)}


def make_forms(folder: Path) -> Path:
    """`rl/`, `older/`, `native/` and `items/`, all good."""
    store(folder / "rl", rl_data())
    store(folder / "older", older_data())
    table = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.save(folder / "table.npy", table)
    write_native(load(DataSettings(path=folder / "rl")), folder / "native", "x")
    write_items(folder / "items", new_items(3))
    return folder


def make_answers(folder: Path) -> Path:
    """A store whose only part has every kind of row; returns that part."""
    with AnswerWriter(AnswerStore(stored_at(folder)), "model") as writer:
        for number, (item, wanted) in enumerate(ASKED.items()):
            failure = Failure(FailureKind.IMAGE, "r", "l")
            writer.add(item, wanted, Answer(f"cat {number}", None, 7) if number % 2 else failure)
    (part,) = AnswerStore(stored_at(folder)).parts()
    return part.local()


def make_evaluation() -> Evaluation:
    """Of two trials beside the rows that need no training."""
    settings = EvaluationSettings(shots=2, resamples=1000, random_draws=1)
    policies = ((worlds.trial(number, val_loss=1 + number / 10), worlds.selector(number)) for number in (1, 2))
    panel = build_panel(worlds.dataset(), worlds.held_out(), policies, settings)
    source = SourceRecord(model="demo", answers={"model": "sha256:1", "prompt": {"system": "Answer."}}, items="f" * 64)
    return evaluate(panel, settings, worlds.World().ask, worlds.score).evaluation.replace(source=source)


def make_run(folder: Path) -> RunPaths:
    """A run that has not begun."""
    (folder / "space.yaml").write_text(SMALL)
    return create_run(plan_of_space(folder / "space.yaml"), NewRun(stored_at(folder), "run"))


def make_selector(folder: Path) -> Path:
    """A stored selector of the smallest size; returns its folder."""
    config = SelectorConfig(width=2, hidden=2, layers=1, heads=1, decoder="gate", temperature=0.1, dropout=0.0)
    model = build_selector(config, 0)
    write_checkpoint(stored_at(folder / "selector"), dict(model.state_dict()), {}, model.config_dict())
    return folder / "selector"


class Good:
    """The files of a run with a trial that was interrupted after its fifth epoch."""

    def __init__(self, folder: Path) -> None:
        self.dataset = small_dataset()
        self.paths = make_run(folder)
        self.context = context(self.paths.root.local(), self.dataset)
        results = iter(trial(self.context, self.dataset))
        for _ in range(5):
            next(results)
        self.epoch = best_epochs(self.paths, 0)[0].local()
        self.state = self.paths.trial(0).resume_folder.glob("step-*")[0].local()
        self.warm_up = next(self.paths.rce_folder.local().glob("*/"))
