"""Stored epochs and warm-ups: their hashes, their manifests against the other files of their trial, and their weights
against the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from selector.batches import TensorData
from selector.config import SelectorConfig
from selector.errors import CheckpointError, UserError
from selector.model import CONFIG_FILE, PointerSelector
from selector.reports import EpochReport
from selector.settings import TrialSettings
from selector.validation import Evaluator
from sweep.plan.plan import Plan
from sweep.results.differences import Fault, faults_of
from sweep.results.verify_study import STUDY, TOLERANCE, name_in, unreadable
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.runs.record import RunRecord
from sweep.storage.hashes import canonical_hash
from sweep.storage.path import StoredPath
from sweep.study.records import Record
from sweep.trials.checkpoints import MANIFEST_FILE, check_files, hashes_of, read_manifest
from sweep.trials.stored import read_history, step_of, stored_epochs

SPEED = {"seconds", "queries_per_second"}
"""What two equal epochs differ in. One that a kill cut off is trained twice, perhaps on another machine."""


@dataclass(frozen=True)
class Recomputed:
    """The validation loss of one stored epoch, as it is stored and as its weights give it on the data."""

    trial: int
    step: int
    stored: float
    recomputed: float

    @property
    def agrees(self) -> bool:
        """Within the tolerance of float addition in another order."""
        return abs(self.stored - self.recomputed) <= TOLERANCE * max(1.0, abs(self.stored))


def folder_faults(paths: RunPaths, folder: StoredPath) -> Iterator[Fault]:
    """The files of a checkpoint of any kind against the hashes in its manifest."""
    name = name_in(paths, folder)
    try:
        manifest = check_files(folder)
    except CheckpointError as error:
        file = str(error).partition(": ")[0].removeprefix(f"{paths.root}/")
        yield Fault(file, "", str(error).partition(": ")[2])
    else:
        for other in folder.walk():
            # Up to version 0.1 a manifest did not name the configuration.
            if other not in {MANIFEST_FILE, CONFIG_FILE, *hashes_of(manifest)}:
                yield Fault(f"{name}/{other}", "", "added", f"not in {MANIFEST_FILE}")
    finally:
        folder.forget()


def checkpoints(paths: RunPaths) -> list[StoredPath]:
    """The folders of all checkpoints of a run: given ones, warm-ups, epochs, finalists, states that are left."""
    states = [file.parent for file in paths.trials_folder.glob(f"*/resume/step-*/{MANIFEST_FILE}")]
    warm_ups = [file.parent for file in paths.rce_folder.glob(f"[!.]*/{MANIFEST_FILE}")]
    given = [file.parent for file in paths.given_folder.glob(f"[!.]*/{MANIFEST_FILE}")]
    return [*given, *warm_ups, *stored_epochs(paths.trials_folder), *states, *stored_epochs(paths.finalists_folder)]


class WarmUps:
    """The manifests of a run's warm-ups, each read once."""

    def __init__(self, paths: RunPaths) -> None:
        self._folder = paths.rce_folder
        self._known: dict[str, dict[str, Any] | None] = {}

    def get(self, digest: str) -> dict[str, Any] | None:
        """The manifest of a warm-up. Empty if it is damaged, which others say; None if there is none."""
        if digest not in self._known:
            file = self._folder / digest / MANIFEST_FILE
            try:
                self._known[digest] = read_manifest(file.parent) if is_hash(digest) and file.exists() else None
            except CheckpointError:
                self._known[digest] = {}
        return self._known[digest]


def is_hash(text: str) -> bool:
    """Whether a text that somebody else wrote may be the name of a warm-up's folder."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def manifest_faults(paths: RunPaths, folder: StoredPath, record: RunRecord, warm_ups: WarmUps) -> Iterator[Fault]:
    """The manifest of a stored epoch against the history and the settings of its trial, and the warm-up it names."""
    own, file = TrialPaths(folder.parent.parent), folder / MANIFEST_FILE
    name = name_in(paths, file)
    try:
        manifest = read_manifest(folder)
        history = read_history(own.history_file)
        settings = TrialSettings.model_validate_json(own.settings_file.read_bytes()).model_dump(mode="json")
    except (CheckpointError, OSError, ValueError) as error:
        if isinstance(error, CheckpointError) and MANIFEST_FILE in str(error):
            yield unreadable(name, error)  # the others are for others to say
        return
    report = next((one for one in history if one.step == step_of(folder)), None)
    number = int(own.root.name.partition("-")[0])
    right: dict[str, Any] = {"kind": "epoch", "step": step_of(folder), "trial": number}
    right["run"] = manifest["run"] if manifest["run"] in (record.study, paths.name) else record.study
    yield from faults_of(name, {key: manifest.get(key) for key in right}, right)
    data, of_run = manifest.get("data_fingerprint"), record.data_fingerprint
    yield from faults_of(name, data, of_run, where="data_fingerprint", source="run.json")
    started = manifest.get("init_from")
    yield from faults_of(name, started, record.init_from, where="init_from", source="run.json")
    if report is not None:
        right = {"stage": report.stage, "epoch": report.epoch, "metrics": _without_speed(report.to_dict())}
        found = {**{key: manifest.get(key) for key in right}, "metrics": _without_speed(manifest["metrics"])}
        history_file = name_in(paths, own.history_file)
        yield from faults_of(name, found, right, source=history_file, tolerance=TOLERANCE)
    else:
        yield Fault(name, "step", str(manifest["step"]), "an epoch of the history")
    try:  # as a model, as in `_settings`
        trained = TrialSettings.model_validate(manifest.get("settings")).model_dump(mode="json")
    except ValueError as error:
        yield unreadable(name, error)
        return
    source = name_in(paths, own.settings_file)
    yield from faults_of(name, trained, settings, where="settings", source=source)
    yield from faults_of(name, manifest.get("seed"), settings["seed"], where="seed", source=source)
    yield from _warm_up_of(manifest, name, warm_ups)
    yield from _started_from(name_in(paths, own.history_file), history, manifest["rce"]["digest"], warm_ups)


def _warm_up_of(manifest: dict[str, Any], name: str, warm_ups: WarmUps) -> Iterator[Fault]:
    """What the manifest says of the warm-up that its trial started from. The disk bound leaves it where it is."""
    digest, validation = manifest["rce"]["digest"], manifest.get("validation")
    warm_up = warm_ups.get(digest)
    if warm_up is None:
        yield Fault(name, "rce.digest", digest[:12], "a warm-up of the run")
    elif warm_up:
        source, right = f"rce/{digest}/{MANIFEST_FILE}", warm_up["key"].get("validation", {})
        found = {key: validation.get(key) for key in right} if isinstance(validation, dict) else None
        yield from faults_of(name, manifest["rce"].get("sha256"), warm_up["sha256"], where="rce.sha256", source=source)
        yield from faults_of(name, found, right, where="validation", source=source)


def _started_from(name: str, history: Sequence[EpochReport], digest: str, warm_ups: WarmUps) -> Iterator[Fault]:
    """The first epochs of a trial against those of its warm-up."""
    warm_up = warm_ups.get(digest) or {"reports": []}
    for found, report in zip(history, warm_up["reports"], strict=False):
        one, other = (_without_speed(values) for values in (json.loads(json.dumps(found.to_dict())), report))
        source = f"rce/{digest}/{MANIFEST_FILE}"
        yield from faults_of(name, one, other, where=f"epoch {found.step}", source=source, tolerance=TOLERANCE)


def warm_up_faults(paths: RunPaths) -> Iterator[Fault]:
    """Warm-ups against their names."""
    for file in paths.rce_folder.glob(f"[!.]*/{MANIFEST_FILE}"):
        name = name_in(paths, file)
        try:
            manifest = read_manifest(file.parent)
        except CheckpointError as error:
            yield unreadable(name, error)
            continue
        key = manifest["key"]
        digest = canonical_hash([key["settings"], key.get("validation"), key.get("data_fingerprint")])
        yield from faults_of(name, manifest.get("digest"), digest, where="digest")
        if file.parent.name != digest:
            yield Fault(name, "key", f"that of {digest[:12]}", f"that of {file.parent.name[:12]}")


def _without_speed(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in SPEED}


def settings_faults(paths: RunPaths, plan: Plan, records: Sequence[Record]) -> Iterator[Fault]:
    """The settings of trials against their parameters, and those of finalists against their trial's."""
    for record in records:
        file = paths.trial(int(record["number"])).settings_file
        if not file.exists():
            continue
        try:
            slot = record["user_attrs"].get("plan") or {}
            right = plan.space.resolve(record["params"], int(slot.get("repeat", 0)))
        except (UserError, ValueError, TypeError, AttributeError) as error:
            yield Fault(STUDY, f"trial {record['number']}.params", f"not of this space ({error})")
            continue
        yield from _settings(paths, file, right, STUDY)
    for folder in paths.finalists_folder.glob("[0-9]*-seed-*"):
        parts = folder.name.split("-seed-")
        if not all(part.isdecimal() for part in parts):  # no finalist, whatever it is
            continue
        number, seed = (int(part) for part in parts)
        source = paths.trial(number).settings_file
        try:
            right = TrialSettings.model_validate({**json.loads(source.read_bytes()), "seed": seed})
        except (OSError, ValueError, TypeError, RecursionError):  # said by others
            continue
        yield from _settings(paths, TrialPaths(folder).settings_file, right, name_in(paths, source))


def _settings(paths: RunPaths, file: StoredPath, right: TrialSettings, source: str) -> Iterator[Fault]:
    """Compared as models: an earlier version did not write settings that it did not know."""
    name = name_in(paths, file)
    try:
        stored = TrialSettings.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        yield unreadable(name, error)
        return
    yield from faults_of(name, stored.model_dump(mode="json"), right.model_dump(mode="json"), source=source)


# Weights --------------------------------------------------------------------------------------------------------------


@dataclass
class Weights:
    """Recomputes from the weights of a run what its checkpoints say of themselves."""

    paths: RunPaths
    plan: Plan
    recomputed: list[Recomputed] = field(default_factory=list)

    def __post_init__(self) -> None:
        data = TensorData(self.plan.dataset, torch.device("cpu"))
        self._evaluate = Evaluator(data, self.plan.space.validation)

    def faults(self) -> Iterator[Fault]:
        """Of all stored epochs whose files are whole."""
        for trials in (self.paths.trials_folder, self.paths.finalists_folder):
            for folder in stored_epochs(trials):
                try:
                    manifest = check_files(folder)
                    yield from self._epoch(folder, manifest, trials == self.paths.trials_folder)
                except CheckpointError:  # said by others
                    continue
                finally:
                    folder.forget()

    def _epoch(self, folder: StoredPath, manifest: dict[str, Any], is_trial: bool) -> Iterator[Fault]:
        name, metrics = name_in(self.paths, folder / MANIFEST_FILE), manifest["metrics"]
        yield from self._config(folder, manifest)
        result = self._evaluate(PointerSelector.from_pretrained(folder.local()))
        right = {"val_loss": result.loss, "val_reward": result.reward}
        stored = {key: metrics[key] for key in right}
        yield from faults_of(name, stored, right, where="metrics", tolerance=TOLERANCE)
        if is_trial:
            row = Recomputed(manifest["trial"], manifest["step"], metrics["val_loss"], result.loss)
            self.recomputed.append(row)

    def _config(self, folder: StoredPath, manifest: dict[str, Any]) -> Iterator[Fault]:
        """The architecture, from the trial's settings."""
        name = name_in(self.paths, folder / CONFIG_FILE)
        settings = TrialSettings.model_validate(manifest["settings"])  # read as the trial's was
        config = SelectorConfig(width=self.plan.dataset.width, **settings.model.model_dump(mode="json"))
        right = {"selector": asdict(config)}
        source = name_in(self.paths, folder / MANIFEST_FILE)
        stored = json.loads((folder.local() / CONFIG_FILE).read_bytes())
        yield from faults_of(name, stored, right, source=source)
