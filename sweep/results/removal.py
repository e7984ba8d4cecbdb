"""Removing runs, and what they alone need of what the runs of a folder share.

Invariants:
- A run that a driver holds is not touched. Its lock is held while its folder goes.
- A kill at any moment leaves a run whole, or gone from every list. The next removal takes away what is left of it.
- Nothing outside the folder of runs is removed, whatever a record says. Links are not followed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

from filelock import Timeout
from pydantic import ValidationError

from sweep.errors import RunError
from sweep.plan.items import demo_items_folder
from sweep.runs.driver import driver_state
from sweep.runs.find import RUN_FILES
from sweep.runs.paths import RunPaths, SharedPaths
from sweep.runs.record import RunRecord, read_record
from sweep.settings.demo import WorldSettings
from sweep.storage.local import LOOK_SECONDS
from sweep.storage.path import StoredPath

REMOVED = ".removed-"
"""How the name of a folder begins that is being removed on this machine."""


@dataclass(frozen=True)
class SharedPart:
    """One folder of what runs share: answers, a data set, or demo items. `needed_by`: remaining runs, by name."""

    folder: StoredPath
    bytes: int
    needed_by: tuple[str, ...]


@dataclass(frozen=True)
class Removal:
    """What would go.

    Attributes:
        runs: that are removed.
        bytes: of each.
        shared: what these runs need, and with whom they share it now.
        elsewhere: databases that keep a study of theirs. They stay.
    """

    runs: tuple[RunPaths, ...]
    bytes: tuple[int, ...]
    shared: tuple[SharedPart, ...]
    elsewhere: tuple[str, ...]

    @property
    def orphans(self) -> tuple[SharedPart, ...]:
        """What no remaining run needs."""
        return tuple(part for part in self.shared if not part.needed_by)


def plan_removal(runs: Sequence[RunPaths]) -> Removal:
    """Look what would go. Nothing is changed.

    Args:
        runs: all in one folder.

    Raises:
        RunError: one is driven, is a link, or is no run of ours; or they are in different folders.
    """
    runs = tuple({run.shown: run for run in runs}.values())
    folder = runs[0].root.parent
    for run in runs:
        if run.root.parent != folder:
            raise RunError(f"{run.shown}: not in {folder}, as the others are; remove the runs of one folder at a time")
        _check_removable(run)
    names = {run.name for run in runs}
    others = [RunPaths(file.parent) for file in folder.glob(RUN_FILES) if file.parent.name not in names]
    users = [_Needs.of(run) for run in others]
    shared = SharedPaths.beside(folder)
    own = [_Needs.of(run) for run in runs]
    parts = [
        SharedPart(part, part.size(), tuple(user.name for user in users if user.needs(part)))
        for part in _parts(shared)
        if any(one.needs(part) for one in own)
    ]
    elsewhere = tuple(
        f"study {record.study} of run {run.name}"
        for run in runs
        if (record := _record(run)) is not None and record.storage is not None
    )
    return Removal(runs, tuple(run.root.size() for run in runs), tuple(parts), elsewhere)


def remove_runs(removal: Removal, shared: Collection[SharedPart] = ()) -> None:
    """Remove runs, and then parts of what runs share.

    Args:
        removal: from `plan_removal`.
        shared: some of its orphans.

    Raises:
        RunError: a driver has taken one of the runs meanwhile. Then nothing is removed.
        OSError: something cannot be removed. The next removal goes on with it.
    """
    folder = removal.runs[0].root.parent
    remove_leftovers(folder)
    with ExitStack() as locks:
        for run in removal.runs:
            lock = run.lock_file.lock()
            try:
                lock.acquire(timeout=LOOK_SECONDS)
            except Timeout:
                raise RunError(_driven(run)) from None
            locks.callback(lock.release)
        for run in removal.runs:
            _remove_run(run)
    for part in shared:
        _remove_folder(part.folder)


def remove_leftovers(folder: StoredPath) -> None:
    """Take away what removals have left that were killed."""
    if folder.is_remote:
        for file in folder.glob("[!._]*/removed.json"):
            RunPaths(file.parent).root.remove()
    else:
        for one in folder.local().glob(f"{REMOVED}*"):
            if not one.is_symlink():
                shutil.rmtree(one)


def _remove_run(run: RunPaths) -> None:
    if run.root.is_remote:  # folders cannot be renamed there: without its record a run is in no list
        run.removed_file.write_text("")
        run.run_file.remove()
        run.root.remove()
    else:
        _remove_folder(run.root)


def _remove_folder(folder: StoredPath) -> None:
    if folder.is_remote:
        folder.remove()
        return
    path = folder.local()
    doomed = path.with_name(f"{REMOVED}{path.name}-{uuid4().hex}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _check_removable(run: RunPaths) -> None:
    if not run.root.is_remote and run.root.local().is_symlink():
        target = run.root.local().resolve()
        raise RunError(f"{run.shown} is a link to {target}; remove the link yourself, or name the run's own folder")
    if not run.space_file.exists():
        raise RunError(
            f"{run.shown}: has a run.json, but no space.yaml: no run of ours; look at it and remove it yourself"
        )
    if driver_state(run).alive:
        raise RunError(_driven(run))


def _driven(run: RunPaths) -> str:
    return f"run {run.name} is running; end it first with `python -m sweep stop {run.shown}`"


# What runs share ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Needs:
    """What a run needs of what is shared. Where that cannot be known, it is everything."""

    name: str
    everything: bool
    folders: frozenset[tuple[str, str]] = frozenset()
    answers: bool = False

    @classmethod
    def of(cls, run: RunPaths) -> _Needs:
        record = _record(run)
        if record is None:
            return cls(run.name, everything=True)
        data = record.data
        if data is None and record.space.get("collect") is not None:  # still to be collected, or found there
            return cls(run.name, everything=True)
        folders = set() if data is None else {("data", data.name)}
        items = record.space.get("items")
        if isinstance(items, dict) and items.get("demo") is not None:
            try:
                world = WorldSettings.model_validate(items["demo"])
            except ValidationError:
                return cls(run.name, everything=True)
            folders.add(("items", demo_items_folder(world, run.shared).name))
        return cls(run.name, False, frozenset(folders), record.space.get("vlm") is not None)

    def needs(self, part: StoredPath) -> bool:
        if self.everything:
            return True
        return self.answers if part.name == "answers" else (part.parent.name, part.name) in self.folders


def _record(run: RunPaths) -> RunRecord | None:
    try:
        return read_record(run)
    except RunError:
        return None


def _parts(shared: SharedPaths) -> Iterator[StoredPath]:
    """Folders that are really there: no links, nothing hidden."""
    if shared.answers_folder.exists():
        yield from _real([shared.answers_folder])
    for kind in ("data", "items"):
        yield from _real((shared.root / kind).glob("[!.]*"))


def _real(folders: Sequence[StoredPath]) -> Iterator[StoredPath]:
    for folder in folders:
        local = None if folder.is_remote else folder.local()
        chain = () if local is None else (local, *list(local.parents)[:2])
        if not any(one.is_symlink() for one in chain):
            yield folder
