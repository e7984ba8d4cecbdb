"""A new run's folder: claimed under a name that nobody has, with a record of what the run is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from sweep.errors import ClusterError, RunError
from sweep.plan.plan import AnyPlan, Plan, record_of_embeddings
from sweep.runs.paths import RunPaths, place_of_data
from sweep.runs.record import RunRecord
from sweep.runs.versions import versions
from sweep.space import canonical
from sweep.storage.path import StoredPath, json_text
from sweep.study import has_study

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # as a space's name: one folder, safe in URLs and metrics


def check_name(name: str) -> None:
    """Raise RunError if a run cannot have this name."""
    if not NAME.fullmatch(name):
        raise RunError(
            f"--name {name!r} cannot be a run's name: use up to 64 letters, digits, dots, dashes and underscores, the "
            "first a letter or digit; --runs says in which folder it stands"
        )


@dataclass(frozen=True)
class NewRun:
    """A run that does not exist yet.

    Attributes:
        runs: the folder that it will stand in.
        name: None: the space's and a number.
    """

    runs: StoredPath
    name: str | None = None


@contextmanager
def created(run: NewRun | RunPaths, plan: AnyPlan) -> Iterator[RunPaths]:
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
        if not paths.has_begun:
            paths.root.remove()
        raise


def create_run(plan: AnyPlan, run: NewRun) -> RunPaths:
    """Make the run's folder and record what it is. Data that is still to be collected has no fingerprint.

    Raises:
        RunError: a run or a study of this name exists, or it cannot be a name.
        StudyError: the space's storage cannot be used.
    """
    for paths in _candidates(run, plan.space.name, plan.space.storage):
        if plan.space.storage is not None:
            _check_new_study(plan.space.storage, paths)
        if _made(paths, plan):
            return paths
    raise RunError(
        f"run {run.name!r} exists in {run.runs}: continue it with `python -m sweep resume "
        f"{run.runs / str(run.name)}`, or take another --name"
    )


def _made(paths: RunPaths, plan: AnyPlan) -> bool:
    """Make a run's folder, whole or not at all: a start that is killed must not take the name. False if it is taken."""
    collected = plan.collected if isinstance(plan, Plan) else None
    record = RunRecord(
        space=canonical(plan.space),
        data=place_of_data(paths, collected or plan.data.path),
        embeddings=plan.data.embeddings and plan.data.embeddings.absolute(),
        data_fingerprint=plan.summary.fingerprint if isinstance(plan, Plan) else None,
        embed=record_of_embeddings(plan) if isinstance(plan, Plan) else None,
        study=paths.name,
        storage=plan.space.storage,
        versions=versions(),
        overrides=plan.request.overrides,
        init_from=None if plan.init is None else plan.init.sha256,
    )
    # For the owner's eyes: a space may name a database with its password.
    files = {paths.space_file.name: plan.request.text, paths.run_file.name: json_text(record.model_dump(mode="json"))}
    try:
        return paths.root.claim(files)
    except OSError as error:
        raise RunError(f"cannot make a run folder in {paths.root.parent}: {error.strerror}") from error


def _check_new_study(storage: str, paths: RunPaths) -> None:
    """A database may serve many runs, and runs in different folders may have one name."""
    if has_study(storage, paths.name):
        raise RunError(
            f"the storage of the space has a study {paths.name!r} already: `sweep resume` continues that run; for "
            "a new one take another --name"
        )


def _candidates(run: NewRun, base: str, storage: str | None) -> Iterator[RunPaths]:
    """Folders that the run may get, none of which is there yet."""
    runs, name = run.runs, run.name
    if name is not None:
        check_name(name)
    for attempt in [name] if name is not None else (f"{base}-{number}" for number in count(1)):
        paths = RunPaths(runs / attempt, storage)  # the user's own space names it
        if not paths.root.is_taken(last=paths.run_file.name) and not paths.removed_file.exists():
            yield paths
