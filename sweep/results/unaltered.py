"""What commands check before they build on a run: that nobody has changed what they rely on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sweep.errors import RunError
from sweep.results.differences import GONE, Fault, without_echoes
from sweep.results.seal import SEAL, seal_faults
from sweep.results.verify_study import study_faults
from sweep.results.verify_trials import WarmUps, manifest_faults
from sweep.runs.paths import RunPaths
from sweep.runs.record import read_record
from sweep.storage.path import StoredPath
from sweep.study.records import read_records
from sweep.trials.checkpoints import check_files


def check_unaltered(paths: RunPaths, may_change: Collection[str] = ()) -> None:
    """Refuse a run whose study, histories or sealed files were changed. Files that are gone or new are for others.

    Args:
        paths: of the run.
        may_change: files that people may edit before this command.

    Raises:
        RunError: something was changed. The message names it.
        StudyError: the study cannot be read.
    """
    record = read_record(paths)
    records = read_records(record.storage_url(paths), record.study)
    refuse_changed(paths, [*seal_faults(paths, record, records), *study_faults(paths, records)], may_change)


def check_stored_epoch(paths: RunPaths, folder: StoredPath) -> None:
    """Refuse a checkpoint whose files were changed, or whose manifest is not what the trial's other files say.

    Raises:
        CheckpointError: a file is missing or altered.
        RunError: the manifest was changed. The message names the place.
    """
    check_files(folder)
    refuse_changed(paths, list(manifest_faults(paths, folder, read_record(paths), WarmUps(paths))))


def refuse_changed(paths: RunPaths, faults: Sequence[Fault], may_change: Collection[str] = ()) -> None:
    """Refuse a run of which something was changed. What is gone or new is no reason. Raises RunError."""
    changed = [
        fault
        for fault in without_echoes(faults, SEAL)
        if fault.file not in may_change and (fault.where or fault.stored not in GONE)
    ]
    if changed:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise RunError(
            f"run {paths.name} was changed since it was written: {changed[0].sentence}{more}; restore it; "
            f"`python -m sweep verify {paths.shown}` lists all"
        )
