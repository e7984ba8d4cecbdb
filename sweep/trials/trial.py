"""One trial on one worker: both stages, its checkpoints, its events. Knows nothing of Ray or Optuna.

Invariants:
- Every finished epoch is on disk (`resume/step-NNNN`) before it is reported, so a trial that starts again anywhere
  gives its last report once more and goes on from there, to the bit.
- The folder of the best epochs holds at most `keep_epochs` checkpoints, each with its whole lineage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selector.batches import TensorData
from selector.data import Dataset
from selector.errors import CheckpointError, first_line
from selector.reports import EpochReport
from selector.settings import TrialSettings
from selector.training import GrpoStage, RceStage, StageState
from selector.training.stage import TrainingStage, copy_weights, new_selector
from selector.validation import Evaluator
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.storage.path import StoredPath
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, read_manifest, read_reports, write_checkpoint
from sweep.trials.compute import compute
from sweep.trials.given import given_weights
from sweep.trials.history import TrialHistory
from sweep.trials.messages import EpochResult, TrialContext
from sweep.trials.rce_store import RceKey, RceStore
from sweep.trials.stored import step_of
from sweep.trials.tensorboard import EventFile

VALIDATION = ("val_loss", "val_reward")
"""Reported alike in both stages. Their group has a capital letter, and so TensorBoard opens on it."""


class Trial:
    """Runs or continues one trial; iterate for an `EpochResult` per epoch. `paths` are the trial's own by default."""

    def __init__(
        self,
        context: TrialContext,
        run: RunPaths,
        number: int,
        settings: TrialSettings,
        data: TensorData,
        evaluate: Evaluator,
        paths: TrialPaths | None = None,
    ) -> None:
        self._context = context
        self._run = run
        self._number = number
        self._settings = settings
        self._data = data
        self._evaluate = evaluate
        self._paths: TrialPaths = paths or run.trial(number)
        self._store = RceStore(run.rce_folder)
        self._key = RceKey.of(settings, context.validation, context.data_fingerprint, context.init)
        self._history = self._new_history(())

    def __iter__(self) -> Iterator[EpochResult]:
        try:
            yield from self._all_epochs()
        finally:
            self._paths.root.forget()
            self._paths.events_folder.forget()

    def _all_epochs(self) -> Iterator[EpochResult]:
        resumed = _latest_state(self._paths.resume_folder)
        self._history = self._new_history(resumed.history if resumed else ())
        self._paths.settings_file.write_json(self._settings.model_dump(mode="json"))
        first = len(self._history) + 1
        with EventFile(self._paths.events_folder, first) as events:
            if resumed:
                _write_history(self._paths.history_file, self._history.reports)
                result = self._history.result()
                yield result
                if result.done or result.stop:
                    return
            for report, stage in self._epochs(resumed):
                result = self._finish_epoch(report, stage, events)
                yield result
                if result.stop:
                    return

    def _epochs(self, resumed: _Resumed | None) -> Iterator[tuple[EpochReport, TrainingStage | None]]:
        """Epochs still to come. The stage is None where the report is a replay of a shared RCE artifact."""
        done = len(self._history)
        if done < self._settings.rce.epochs or not done:

            def make_stage() -> tuple[RceStage, list[EpochReport]]:
                stage = RceStage(self._settings, self._data, self._evaluate, self._init())
                if resumed and resumed.state:
                    self._restore(stage, resumed.state)
                    return stage, list(self._history.reports)
                return stage, []

            for report, stage in self._store.epochs(self._key, make_stage, self._origin()):
                if report.step > done:
                    yield report, stage
        if self._settings.grpo.epochs:
            grpo = GrpoStage(self._settings, self._data, self._evaluate, self._store.weights(self._key))
            if resumed and resumed.state and done > self._settings.rce.epochs:
                self._restore(grpo, resumed.state)
            for report in grpo:
                yield report, grpo

    def _new_history(self, reports: Sequence[EpochReport]) -> TrialHistory:
        settings, health, shots = self._settings, self._context.health, self._evaluate.shots
        return TrialHistory(self._number, settings, health, self._key.digest, shots, reports)

    def _init(self) -> dict[str, Tensor] | None:
        """The weights that the run's trials start from, where they are not the seed's."""
        return None if self._context.init is None else given_weights(self._run, self._context.init)

    def _restore(self, stage: TrainingStage, state: StageState) -> None:
        try:
            stage.load_state(state)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = first_line(error)[:200]
            raise CheckpointError(
                f"{self._paths.resume_folder}: holds no state of trial {self._number} ({reason}): altered or damaged"
            ) from error

    def _finish_epoch(self, report: EpochReport, stage: TrainingStage | None, events: EventFile) -> EpochResult:
        self._history.add(report)
        self._keep_best(report, stage)
        self._write_state(stage)
        _write_history(self._paths.history_file, self._history.reports)
        _write_events(events, report)
        return self._history.result()

    # Best epochs ----------------------------------------------------------------------------------------------------

    def _keep_best(self, report: EpochReport, stage: TrainingStage | None) -> None:
        best = self._history.ranked()[: self._context.keep_epochs]
        if self._settings.grpo.epochs == 0 and best:
            self._write_epoch(best[0], self._store.weights(self._key))
        elif stage is not None and report in best:
            self._write_epoch(report, copy_weights(stage.model))
        steps = [entry.step for entry in best]
        for folder in self._paths.best_folder.glob("step-*"):
            if step_of(folder) not in steps:
                folder.remove()

    def _write_epoch(self, report: EpochReport, weights: dict[str, Tensor]) -> None:
        model = new_selector(self._settings, self._data.dataset.width, weights)
        write_checkpoint(self._paths.epoch(report.step), weights, self._manifest(report), model.config_dict())

    def _manifest(self, report: EpochReport) -> dict[str, Any]:
        return {
            "kind": "epoch",
            "step": report.step,
            "stage": report.stage,
            "epoch": report.epoch,
            "metrics": report.to_dict(),
            "validation": self._context.validation.model_dump(mode="json"),
            "rce": {"digest": self._key.digest, "sha256": read_manifest(self._store.folder(self._key))["sha256"]},
            **self._origin(),
        }

    def _origin(self) -> dict[str, Any]:
        return {
            "run": self._run.name,
            "trial": self._number,
            "seed": self._settings.seed,
            "settings": self._settings.model_dump(mode="json"),
            "data_fingerprint": self._context.data_fingerprint,
            "init_from": self._context.init,
            "versions": self._context.versions,
            "compute": compute(self._data.device),
            "shots": self._evaluate.shots,
        }

    # State between epochs -------------------------------------------------------------------------------------------

    def _write_state(self, stage: TrainingStage | None) -> None:
        step = self._history.reports[-1].step
        state = stage.state() if stage is not None else StageState(0, {})
        manifest = {
            "kind": "resume",
            "epoch": state.epoch,
            "numbers": state.numbers,
            "history": [report.to_dict() for report in self._history.reports],
        }
        write_checkpoint(self._paths.resume_folder / f"step-{step:04d}", state.tensors, manifest)
        for folder in self._paths.resume_folder.glob("step-*"):
            if step_of(folder) < step:
                folder.remove()


@dataclass(frozen=True)
class _Resumed:
    history: list[EpochReport]
    state: StageState | None  # None: the epoch was a replay of the RCE artifact


def _latest_state(folder: StoredPath) -> _Resumed | None:
    complete = sorted(folder.glob(f"step-*/{MANIFEST_FILE}"), key=lambda file: step_of(file.parent))
    if not complete:
        return None
    newest = complete[-1].parent
    tensors, manifest = read_checkpoint(newest)
    history = read_reports(manifest["history"], newest)
    plain = all(type(number) in (int, float) for number in manifest["numbers"].values())
    if not history or not plain or not 0 <= manifest["epoch"] <= len(history):
        raise CheckpointError(f"{newest}: no state after an epoch: altered or damaged")
    state = StageState(manifest["epoch"], tensors, manifest["numbers"]) if manifest["epoch"] else None
    return _Resumed(history, state)


def _write_history(file: StoredPath, history: list[EpochReport]) -> None:
    file.write_text("".join(json.dumps(report.to_dict()) + "\n" for report in history))


def _write_events(events: EventFile, report: EpochReport) -> None:
    for name, value in report.numbers().items():
        group = "" if "/" in name else "Validation/" if name in VALIDATION else f"{report.stage}/"
        events.scalar(f"{group}{name}", value, report.step)
    events.flush()


def trial_device(gpus: float) -> torch.device:
    """Where a trial with this many GPUs trains. Ray has already limited what the process can see."""
    return torch.device("cuda") if gpus > 0 and torch.cuda.is_available() else torch.device("cpu")


def load_shared(dataset: Dataset, context: TrialContext, gpus: float) -> tuple[TensorData, Evaluator]:
    """The run's data on this worker's device, and the metric on it; once per worker, whatever trials it serves."""
    data = TensorData(dataset, trial_device(gpus))
    return data, Evaluator(data, context.validation, shots=context.shots)
