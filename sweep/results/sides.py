"""What can be compared: a trial's epoch, an export, a checkpoint, a file of Lever-Plus. A short text names each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selector.errors import CheckpointError
from selector.health import Verdict, assess
from selector.lever_plus import TEMPERATURE, Form, read_selector
from selector.model import CONFIG_FILE, WEIGHTS_FILE, PointerSelector
from selector.reports import EpochReport
from selector.settings import HealthSettings
from sweep.errors import RunError
from sweep.runs.find import find_run
from sweep.runs.paths import RunPaths
from sweep.storage.hashes import file_hash
from sweep.storage.local import stored_at
from sweep.storage.path import StoredPath
from sweep.trials.checkpoints import MANIFEST_FILE, read_checkpoint, read_manifest, read_reports
from sweep.trials.stored import best_epochs, step_of

TRIAL = re.compile(r"(?:(?P<run>.+)/)?(?P<trial>\d{1,9})(?:@(?P<step>\d{1,9}))?")


@dataclass(frozen=True, eq=False)
class Side:
    """One of the selectors that are compared.

    Attributes:
        label: as the user named it.
        model: on the CPU, in evaluation mode.
        checkpoint: SHA-256 of its weights, by which an evaluation knows it. None for a file of another project.
        run: its run's folder, where it is a trial of one.
        step: its epoch, counted over both stages. None where the file does not say.
        reports: its trial's epochs so far. Empty where there is no history.
        verdicts: of its epoch.
        warm_up: SHA-256 of the RCE artifact that it started from.
    """

    label: str
    model: PointerSelector
    checkpoint: str | None = None
    run: RunPaths | None = None
    step: int | None = None
    reports: tuple[EpochReport, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    warm_up: str | None = None


def open_side(text: str, paths: RunPaths, health: HealthSettings, heads: int | None = None) -> Side:
    """Find and load what a text names.

    Args:
        text: a folder with a selector, a `.pt` or `.ckpt` file of Lever-Plus, a trial's number (its best epoch),
            `NUMBER@STEP`, or `RUN/NUMBER` of another run.
        paths: the run whose trials are meant by a bare number.
        health: thresholds of the verdicts.
        heads: attention heads of a file of Lever-Plus, which does not say.

    Raises:
        RunError: there is no such thing, or `heads` is missing.
        CheckpointError: it cannot be read.
    """
    place = Path(text)
    if place.is_file():
        return _of_file(text, place, heads)
    if place.is_dir() and ((place / WEIGHTS_FILE).exists() or (place / CONFIG_FILE).exists()):
        return _of_folder(text, stored_at(place), None, health)
    found = TRIAL.fullmatch(text)
    if found is None:
        raise RunError(
            f"{text!r} is neither a trial's number, nor NUMBER@STEP or RUN/NUMBER, nor a folder with {WEIGHTS_FILE}, "
            "nor a file of Lever-Plus (.pt or .ckpt)"
        )
    run = paths if found["run"] is None else find_run(found["run"], paths.root.parent)
    epochs = best_epochs(run, int(found["trial"]))
    if found["step"] is not None:
        steps = sorted(step_of(folder) for folder in epochs)
        epochs = [folder for folder in epochs if step_of(folder) == int(found["step"])]
        if not epochs:
            raise RunError(
                f"{text}: epoch {found['step']} of trial {found['trial']} is not stored; stored are "
                f"{', '.join(map(str, steps))}"
            )
    return _of_folder(text, epochs[0], run, health)


def _of_file(text: str, file: Path, heads: int | None) -> Side:
    if file.suffix not in {form.value for form in Form}:
        raise RunError(f"{text}: a file of Lever-Plus ends in {' or '.join(form.value for form in Form)}")
    if heads is None:
        raise RunError(
            f"{text}: such a file does not hold the number of attention heads, and a wrong one picks other "
            "demonstrations; say --heads (Lever-Plus: 1)"
        )
    # The temperature scales all logits alike, and the dropout is off: neither changes what is picked.
    return Side(text, read_selector(file, heads=heads, temperature=TEMPERATURE, dropout=0.0))


def _of_folder(text: str, folder: StoredPath, run: RunPaths | None, health: HealthSettings) -> Side:
    """A checkpoint of a run, or an export. Without its manifest it has no lineage."""
    local = folder.local()
    if not (local / MANIFEST_FILE).exists():
        return Side(text, PointerSelector.from_pretrained(local), file_hash(local / WEIGHTS_FILE))
    read_checkpoint(folder)  # its hashes are checked
    manifest = read_manifest(folder)
    reports = _reports(run, manifest)
    now = next((report for report in reports if report.step == manifest.get("step")), None)
    return Side(
        text,
        PointerSelector.from_pretrained(local),
        manifest["sha256"],
        run,
        manifest.get("step"),
        reports,
        () if now is None else assess(now, health),
        (manifest.get("rce") or {}).get("sha256"),
    )


def _reports(run: RunPaths | None, manifest: dict[str, Any]) -> tuple[EpochReport, ...]:
    """The epochs of a trial, from its own record."""
    if run is None:
        return ()
    file = run.trial(int(manifest["trial"])).history_file
    try:
        lines = [json.loads(line) for line in file.read_bytes().decode().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read as a trial's epochs ({error})") from None
    return tuple(read_reports(lines, file.parent))
