"""What was trained, as far as it takes to train it again: a trial, a finalist, or the trial behind an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selector.data import DataSettings
from selector.errors import CheckpointError, first_line
from selector.model import WEIGHTS_FILE
from selector.reports import EpochReport
from selector.settings import HealthSettings, TrialSettings, ValidationSettings
from sweep.errors import RunError
from sweep.plan.plan import Plan
from sweep.results.unaltered import check_stored_epoch, check_unaltered
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.runs.record import read_record
from sweep.space.model import Resources
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.trials.checkpoints import MANIFEST_FILE, check_files, read_manifest
from sweep.trials.given import Given
from sweep.trials.stored import read_history, step_of, trial_folders

HISTORY = "epochs.jsonl"
"""In an export: the reports of its trial's epochs."""


@dataclass(frozen=True, eq=False)
class Trained:
    """One training that has been.

    Attributes:
        label: for people.
        number: of the trial.
        settings: resolved, its seed included.
        history: reports of its epochs, in order from the first one; of an export perhaps the one of its epoch alone.
        stored: checkpoints by epoch, counted over both stages.
        warm_up: SHA-256 of the weights that GRPO began with. None where no file says.
        validation: the metric.
        health: thresholds of the verdicts, which may end a trial.
        shots: picks that agreement is about. None: as many as a beam of the data has.
        fingerprint: of the data.
        versions: that it was trained with.
        compute: how, as `sweep.trials.compute` says. Empty where that was not recorded.
        init: the weights from elsewhere that it began with. None: its seed's.
    """

    label: str
    number: int
    settings: TrialSettings
    history: tuple[EpochReport, ...]
    stored: Mapping[int, StoredPath]
    warm_up: str | None
    validation: ValidationSettings
    health: HealthSettings
    shots: int | None
    fingerprint: str
    versions: Mapping[str, str]
    compute: Mapping[str, Any] = field(default_factory=dict)
    init: Given | None = None

    @property
    def steps(self) -> int:
        """The last epoch that is known."""
        return self.history[-1].step


def trained_in_run(paths: RunPaths, plan: Plan, number: int, seed: int | None = None) -> Trained:
    """A trial of a run, or a finalist.

    Args:
        paths: of the run.
        plan: of the run. Its data may have another fingerprint.
        number: of the trial.
        seed: the fresh seed of a finalist. None: the trial itself.

    Raises:
        RunError: there is no such trial, it has no epoch, or something of it was changed.
        CheckpointError: a file is damaged.
    """
    check_unaltered(paths)
    own = paths.trial(number) if seed is None else paths.finalist(number, seed)
    label = f"trial {number}" if seed is None else f"trial {number} under the fresh seed {seed}"
    if not own.settings_file.exists():
        raise RunError(f"run {paths.name} has no {label}: it has {_known(paths, number, seed)}")
    history = tuple(read_history(own.history_file))
    if not history:
        raise RunError(f"run {paths.name}: {label} has no finished epoch, so there is nothing to compare with")
    stored = _stored(paths, own)
    manifest = read_manifest(stored[max(stored)]) if stored else {}
    record = read_record(paths)
    try:
        settings = TrialSettings.model_validate_json(own.settings_file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{own.settings_file}: not the settings of a trial ({first_line(error)})") from None
    return Trained(
        label=f"{label} of run {paths.name}",
        number=number,
        settings=settings,
        history=history,
        stored=stored,
        warm_up=manifest["rce"].get("sha256") if manifest else None,
        validation=plan.space.validation,
        health=plan.space.health,
        shots=plan.space.most_shots,
        fingerprint=record.fingerprint,
        versions=manifest.get("versions", record.versions),
        compute=manifest.get("compute") or _compute(plan.space.resources),
        init=plan.init,
    )


def is_export(place: Path) -> bool:
    """Whether a folder is an export of a trial: weights with their manifest, and no run around them."""
    return (place / WEIGHTS_FILE).is_file() and (place / MANIFEST_FILE).is_file()


def trained_in_export(folder: Path) -> Trained:
    """The trial behind an export.

    Raises:
        CheckpointError: it is no whole export, or was altered.
        RunError: the trial began with weights that an export does not hold.
    """
    place = stored_at(folder)
    manifest = check_files(place)
    if manifest.get("kind") != "epoch":
        raise CheckpointError(f"{place / MANIFEST_FILE}: kind is not 'epoch': an export of a trial is needed")
    if manifest.get("init_from") is not None:
        raise RunError(
            f"{folder}: its trial began with weights from elsewhere (init_from), which an export does not hold; "
            "reproduce it from its run"
        )
    try:
        now = EpochReport.from_dict(manifest["metrics"])
        settings = TrialSettings.model_validate(manifest["settings"])
        validation = ValidationSettings.model_validate(manifest["validation"])
        versions, fingerprint = dict(manifest["versions"]), str(manifest["data_fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place / MANIFEST_FILE}: its lineage cannot be read ({first_line(error)})") from None
    history = read_history(place / HISTORY) or [now]
    return Trained(
        label=f"trial {manifest['trial']} of run {manifest['run']}, exported to {folder}",
        number=manifest["trial"],
        settings=settings,
        history=tuple(report for report in history if report.step <= now.step),
        stored={now.step: place},
        warm_up=manifest["rce"].get("sha256"),
        validation=validation,
        health=HealthSettings(prune_on=()),  # the trial came as far as its export
        shots=manifest.get("shots"),
        fingerprint=fingerprint,
        versions=versions,
        compute=manifest.get("compute") or {},
    )


def data_of_export(folder: Path, data: Path, embeddings: Path | None) -> DataSettings:
    """How the data behind an export is read, now that somebody has said where it is.

    Raises:
        CheckpointError: the manifest's section `data` cannot be read.
    """
    place = stored_at(folder)
    kept = read_manifest(place).get("data", {})
    try:
        return DataSettings.model_validate({**kept, "path": data, "embeddings": embeddings})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place / MANIFEST_FILE}: data: {first_line(error)}") from None


def _stored(paths: RunPaths, own: TrialPaths) -> dict[int, StoredPath]:
    """The stored epochs by number, none of which was changed."""
    found = {step_of(file.parent): file.parent for file in own.best_folder.glob(f"step-*/{MANIFEST_FILE}")}
    for folder in found.values():
        check_stored_epoch(paths, folder)
    return found


def _compute(resources: Resources) -> dict[str, Any]:
    """What is known of a training without such a record: as many threads as cores, and the CPU if it had no GPU."""
    return {"threads": max(1, int(resources.cpus)), **({} if resources.gpus else {"device": "cpu"})}


def _known(paths: RunPaths, number: int, seed: int | None) -> str:
    if seed is None:
        numbers = sorted(trial_folders(paths))
        return f"{numbers[0]} to {numbers[-1]}" if numbers else "none yet"
    names = [one.name.partition("-seed-") for one in paths.finalists_folder.glob(f"{number:04d}-seed-*")]
    return f"the seeds {', '.join(seed for _, _, seed in names)}" if names else "no finalists of this trial"
