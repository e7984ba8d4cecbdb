"""The study against what each trial's own files say of it. Needs neither the data nor torch's arithmetic."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from selector.errors import CheckpointError
from selector.reports import EpochReport
from sweep.results.differences import Fault, faults_of
from sweep.runs.paths import RunPaths, TrialPaths
from sweep.storage.path import StoredPath
from sweep.study.records import Record, is_ended
from sweep.trials.stored import read_history, trial_folders

STUDY = "study.db"
# Another machine, or another number of threads, adds floats in another order. This matters here too, because an epoch
# that a power failure has undone is trained again, perhaps on another machine, and the study keeps the first.
TOLERANCE = 1e-4


def name_in(paths: RunPaths, file: StoredPath) -> str:
    """A file's path relative to the run's folder."""
    return str(file).removeprefix(f"{paths.root}/")


def study_faults(paths: RunPaths, records: Sequence[Record]) -> list[Fault]:
    """Every trial of the study against its record, its history and itself."""
    found = [fault for record in records for fault in trial_faults(paths, record)]
    known = {int(record["number"]) for record in records}
    for number, own in trial_folders(paths).items():
        if number not in known:
            found.append(Fault(STUDY, f"trial {number}", "missing", f"in {name_in(paths, own.root)}"))
    return found


def trial_faults(paths: RunPaths, record: Record) -> Iterator[Fault]:
    """One trial of the study against its record and its history, and what stands for it against both."""
    number = int(record["number"])
    own, where = paths.trial(number), f"trial {number}"
    if own.study_file.exists():
        yield from _record_faults(paths, own, record, where)
    try:
        history = read_history(own.history_file)
    except CheckpointError as error:
        yield unreadable(name_in(paths, own.history_file), error)
        return
    yield from _history_faults(paths, own, record, history)
    yield from _standing_faults(record, history, where, name_in(paths, own.history_file))


def _record_faults(paths: RunPaths, own: TrialPaths, record: Record, where: str) -> Iterator[Fault]:
    name = name_in(paths, own.study_file)
    try:
        stored = json.loads(own.study_file.read_bytes())
        ended = is_ended(stored)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        yield unreadable(name, error)
        return
    if ended:
        yield from faults_of(STUDY, record, stored, where=where, source=name)


def _history_faults(
    paths: RunPaths, own: TrialPaths, record: Record, history: Sequence[EpochReport]
) -> Iterator[Fault]:
    """Validation losses of the epochs. A trial that was cut off may have one that the study does not know."""
    values, name = record["intermediate_values"], name_in(paths, own.history_file)
    if values and not history:
        yield Fault(name, "", "missing", f"a history of {len(values)} epochs")
        return
    stored = {str(one.step): _loss(one) for one in history}
    if record["state"] != "complete":  # it may have ended before the study heard of its last epoch
        stored = {step: loss for step, loss in stored.items() if step in values}
    if not is_ended(record):  # and it repeats what a power failure has undone
        values = {step: loss for step, loss in values.items() if step in stored}
    for fault in faults_of(name, stored, values, source=STUDY, tolerance=TOLERANCE):
        yield Fault(name, f"epoch {fault.where}: val_loss", fault.stored, fault.right, STUDY)


def _standing_faults(record: Record, history: Sequence[EpochReport], where: str, name: str) -> Iterator[Fault]:
    """The epoch that stands for a trial: its value, and what the history says of it."""
    standing, complete = record["user_attrs"].get("standing"), record["state"] == "complete"
    if not isinstance(standing, dict) or standing.get("best_step") is None:
        if complete and history and not any(math.isclose(record["value"], one.val_loss) for one in history):
            yield Fault(STUDY, f"{where}.value", str(record["value"]), "the val_loss of an epoch", name)
        return
    if complete:
        yield from faults_of(STUDY, record["value"], standing["best_loss"], where=f"{where}.value")
    best = next((one for one in history if one.step == standing["best_step"]), None)
    if history:
        right = None if best is None else best.val_loss
        place = f"{where}.user_attrs.standing.best_loss"
        yield from faults_of(STUDY, standing["best_loss"], right, where=place, source=name, tolerance=TOLERANCE)


def _loss(report: EpochReport) -> float:
    """As the study stores it: what is not finite is NaN."""
    return report.val_loss if math.isfinite(report.val_loss) else math.nan


def unreadable(name: str, error: Exception) -> Fault:
    """A file that cannot be read at all."""
    return Fault(name, "", f"not readable ({str(error).rpartition(f'{name}: ')[2] or error})")
