"""A new run's folder: claimed under a name that nobody has, with a record of what the run is."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import uuid4

from filelock import Timeout

from sweep.errors import ClusterError, RunError
from sweep.plan.plan import CollectionPlan, Plan
from sweep.runs.paths import RunPaths, place_of_data
from sweep.runs.record import RunRecord
from sweep.runs.versions import versions
from sweep.space import canonical
from sweep.storage import mirror
from sweep.storage.files import remove_folder, write_json
from sweep.study import has_study

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # as a space's name: one folder, safe in URLs and metrics


@dataclass(frozen=True)
class NewRun:
    """A run that does not exist yet.

    Attributes:
        runs: the folder that it will stand in.
        name: None: the space's and a number.
    """

    runs: Path
    name: str | None = None


@contextmanager
def created(run: NewRun | RunPaths, plan: Plan | CollectionPlan) -> Iterator[RunPaths]:
    """The run's paths. A new run is created, and removed again if Ray fails before any trial has begun.

    There is nothing in such a run that could be resumed.
    """
    if isinstance(run, RunPaths):
        yield run
        return
    paths = create_run(plan, run)
    try:
        yield paths
    except ClusterError:
        if not mirror.exists(paths.trials_folder):
            remove_folder(paths.root)
        raise


def create_run(plan: Plan | CollectionPlan, run: NewRun) -> RunPaths:
    """Make the run's folder and record what it is. Data that is still to be collected has no fingerprint.

    Raises:
        RunError: a run or a study of this name exists, or it cannot be a name.
        StudyError: the space's storage cannot be used.
    """
    for paths in _candidates(run, plan.space.name):
        if plan.space.storage is not None:
            _check_new_study(plan.space.storage, paths)
        if _made(paths, plan):
            return paths
    raise RunError(
        f"run {run.name!r} exists in {mirror.shown(run.runs)}: continue it with `python -m sweep resume "
        f"{mirror.shown(run.runs / str(run.name))}`, or take another --name"
    )


def _made(paths: RunPaths, plan: Plan | CollectionPlan) -> bool:
    """Make a run's folder, whole or not at all: a start that is killed must not take the name. False if it is taken."""
    data = plan.data
    record = RunRecord(
        space=canonical(plan.space),
        data=data.path and place_of_data(paths, data.path),
        embeddings=data.embeddings and data.embeddings.absolute(),
        data_fingerprint=plan.summary.fingerprint if isinstance(plan, Plan) else None,
        study=paths.name,
        storage=plan.space.storage,
        versions=versions(),
    )
    if mirror.is_mirrored(paths.root):
        return _made_elsewhere(paths, plan.request.text, record)
    unfinished = RunPaths(paths.root.with_name(f".{paths.name}.{uuid4().hex}"))
    try:
        unfinished.root.mkdir()
    except OSError as error:
        raise RunError(f"cannot make a run folder in {paths.root.parent}: {error.strerror}") from error
    try:
        _write_private(unfinished.space_file, plan.request.text)
        write_json(unfinished.run_file, record.model_dump(mode="json"), private=True)
        unfinished.root.rename(paths.root)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):  # somebody else was faster
            return False
        raise
    finally:
        shutil.rmtree(unfinished.root, ignore_errors=True)
    return True


def _made_elsewhere(paths: RunPaths, text: str, record: RunRecord) -> bool:
    """The same where folders cannot be renamed: `run.json`, written last, makes the folder a run's."""
    try:
        with mirror.lock(paths.lock_file):
            if mirror.exists(paths.run_file):
                return False
            paths.root.mkdir(parents=True, exist_ok=True)
            paths.space_file.unlink(missing_ok=True)
            _write_private(paths.space_file, text)
            mirror.push(paths.space_file)
            write_json(paths.run_file, record.model_dump(mode="json"), private=True)
    except Timeout:
        return False
    return True


def _write_private(file: Path, text: str) -> None:
    """For the owner's eyes, as `run.json` is: a space may name a database with its password."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write(text)


def _check_new_study(storage: str, paths: RunPaths) -> None:
    """A database may serve many runs, and runs in different folders may have one name."""
    if has_study(storage, paths.name):
        raise RunError(
            f"the storage of the space has a study {paths.name!r} already: `sweep resume` continues that run; for "
            "a new one take another --name"
        )


def _candidates(run: NewRun, base: str) -> Iterator[RunPaths]:
    """Folders that the run may get, none of which is there yet."""
    runs, name = run.runs, run.name
    if name is not None and not NAME.fullmatch(name):
        raise RunError(
            f"--name {name!r} cannot be a run's name: use up to 64 letters, digits, dots, dashes and underscores, the "
            "first a letter or digit; --runs says in which folder it stands"
        )
    try:
        runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make a run folder in {mirror.shown(runs)}: {error.strerror}") from error
    for attempt in [name] if name is not None else (f"{base}-{number}" for number in count(1)):
        if not mirror.exists(RunPaths(runs / attempt).run_file if mirror.is_mirrored(runs) else runs / attempt):
            yield RunPaths(runs / attempt)
