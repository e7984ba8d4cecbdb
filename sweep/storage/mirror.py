"""Folders of this machine that stand for folders elsewhere.

The service works with paths. Where a run is kept elsewhere, each process works in a scratch folder of its own that
stands for the remote one: what the writers of `sweep.runs.paths` make complete is uploaded before they return, what is
listed is listed there, and what is read is fetched first. Nothing in scratch is needed after the process: what counts
is what is stored remotely.

For any other path, listing and looking are what they always are, and the rest does nothing.

Two kinds of files are read. Those that never change under their name (checkpoints, parts of the store of answers,
collected data) are fetched once, with `fetch`. Those that do (`run.json`, the study, `ranking.json`) with `refresh`,
when a command begins; while it runs, it is the only one that changes them.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from uuid import uuid4

from filelock import FileLock
from pyarrow.fs import FileType

from sweep.storage.lease import Lease
from sweep.storage.location import Location, path_of
from sweep.storage.remote import LAST, RemoteStore
from sweep.storage.scratch import make_scratch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Mirror:
    store: RemoteStore
    root: Path
    alive: FileLock

    def key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


_mirrors: dict[str, _Mirror] = {}
_opening = threading.Lock()


# Places ---------------------------------------------------------------------------------------------------------------


def folder_of(place: str | Path) -> Path:
    """The folder to work in: the path itself, or for a URI of elsewhere a scratch folder that stands for it.

    Raises:
        RunError: not a usable URI, the storage cannot be reached, or there is no room for scratch.
    """
    path = path_of(str(place)) if isinstance(place, str) else place
    if path is not None:
        return path
    location = Location.of(str(place))
    with _opening:
        if location.uri not in _mirrors:
            _mirrors[location.uri] = _open(location)
    return _mirrors[location.uri].root


def run_folder_of(place: str | Path) -> Path:
    """The same for a run's folder, which needs the folder of runs that it stands in."""
    path = path_of(str(place)) if isinstance(place, str) else place
    if path is not None:
        return path
    location = Location.of(str(place))
    return folder_of(location.parent.uri) / location.name


def place_of(path: Path) -> str | Path:
    """The inverse, for another process: the whole URI, keys included, or the absolute path."""
    mirror = _mirror(path)
    return path.resolve() if mirror is None else mirror.store.location.child(mirror.key(path)).uri


def shown(path: Path) -> str:
    """What people call it: the URI without keys, or the path."""
    mirror = _mirror(path)
    return str(path) if mirror is None else mirror.store.location.child(mirror.key(path)).shown


def lacks_bucket(path: Path) -> bool:
    """Whether the bucket that a path is in does not exist, which a listing does not tell from an empty one."""
    mirror = _mirror(path)
    return mirror is not None and mirror.store.lacks_bucket()


def is_mirrored(path: Path) -> bool:
    """Whether a path stands for one elsewhere."""
    return _mirror(path) is not None


def _open(location: Location) -> _Mirror:
    store = RemoteStore.open(location)
    return _Mirror(store, *make_scratch(location))


def _mirror(path: Path) -> _Mirror | None:
    for mirror in _mirrors.values():
        if path.is_relative_to(mirror.root):
            return mirror
    return None


# Writing --------------------------------------------------------------------------------------------------------------


def push(file: Path) -> None:
    """Store a file elsewhere as it is now. Raises OSError with EIO if the storage fails.

    One in a folder that is not complete yet, whose name begins with a dot, goes with that folder.
    """
    mirror = _mirror(file)
    if mirror is not None and not any(part.startswith(".") for part in file.relative_to(mirror.root).parts):
        mirror.store.put(file, mirror.key(file))


def push_folder(folder: Path) -> None:
    """Store a complete folder elsewhere. One that is complete there already stays, and counts from now on."""
    mirror = _mirror(folder)
    if mirror is None:
        return
    key = mirror.key(folder)
    if mirror.store.kind(f"{key}/{LAST}") == FileType.File:
        shutil.rmtree(folder, ignore_errors=True)  # the next reader fetches what stands there
        return
    mirror.store.put_folder(folder, key)


def push_content(file: Path, content: bytes) -> None:
    """Store bytes elsewhere under a file's name, whatever the file holds here."""
    mirror = _mirror(file)
    if mirror is not None:
        mirror.store.write(mirror.key(file), content)


def delete(path: Path) -> None:
    """Remove a file or folder elsewhere; what stands here is for the caller to remove."""
    mirror = _mirror(path)
    if mirror is not None:
        mirror.store.delete(mirror.key(path))


def forget(path: Path) -> None:
    """Give the scratch of a folder back; elsewhere it stays."""
    if is_mirrored(path):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def uploading(file: Path, seconds: float = 30.0) -> Iterator[None]:
    """Store a growing file elsewhere now and then, and at the end. A failure is noted in the log and no more."""
    if not is_mirrored(file):
        yield
        return
    ended = threading.Event()

    def upload() -> None:
        last = False
        while not last:
            last = ended.wait(seconds)
            try:
                push(file)
            except OSError as error:
                logger.warning("%s", error)

    thread = threading.Thread(target=upload, name="uploading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# Reading --------------------------------------------------------------------------------------------------------------


def fetch(path: Path) -> Path:
    """Have a file or folder here that does not change under its name. What is nowhere stays missing.

    So does a folder without its manifest: its writer was killed, or is not done yet.
    """
    mirror = _mirror(path)
    if mirror is not None and not path.exists():
        _download(mirror, path, complete=True)
    return path


def refresh(path: Path) -> Path:
    """Have a file or folder here as it is elsewhere now."""
    mirror = _mirror(path)
    if mirror is not None:
        _remove(path)
        _download(mirror, path)
    return path


def _download(mirror: _Mirror, path: Path, *, complete: bool = False) -> None:
    key = mirror.key(path)
    kind = mirror.store.kind(key)
    if kind not in (FileType.File, FileType.Directory):
        return
    if complete and kind == FileType.Directory and mirror.store.kind(f"{key}/{LAST}") != FileType.File:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        if kind == FileType.File:
            mirror.store.get(key, temporary)
        else:
            temporary.mkdir()
            mirror.store.get_folder(key, temporary)
            if complete and not (temporary / LAST).exists():  # removed at this moment
                return
        temporary.rename(path)
    except FileNotFoundError:  # likewise
        return
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def exists(path: Path) -> bool:
    """Whether there is such a file or folder."""
    mirror = _mirror(path)
    return path.exists() if mirror is None else mirror.store.kind(mirror.key(path)) != FileType.NotFound


def listing(folder: Path, pattern: str) -> list[Path]:
    """Files and folders below `folder` that match, as `Path.glob` has it, sorted. They need not be here yet."""
    mirror = _mirror(folder)
    if mirror is None:
        return sorted(folder.glob(pattern))
    found = [folder]
    *above, last = pattern.split("/")
    for part in above:
        if _is_exact(part):
            found = [one / part for one in found]
            continue
        found = [
            one / name for one in found for name in mirror.store.folders(mirror.key(one)) if fnmatchcase(name, part)
        ]
    if _is_exact(last):
        return [one / last for one in found if mirror.store.kind(mirror.key(one / last)) != FileType.NotFound]
    return [one / name for one in found for name in mirror.store.names(mirror.key(one)) if fnmatchcase(name, last)]


def _is_exact(part: str) -> bool:
    return not any(sign in part for sign in "*?[")


def newest(files: list[Path]) -> Path:
    """The file that was written last."""
    mirror = _mirror(files[0])
    if mirror is None:
        return max(files, key=lambda file: file.stat().st_mtime)
    times = mirror.store.modified([mirror.key(file) for file in files])
    return max(zip(times, files, strict=True), key=lambda pair: pair[0] or 0.0)[1]


def size(path: Path) -> int | None:
    """Bytes that a file or folder holds elsewhere; None for a path of this machine."""
    mirror = _mirror(path)
    return None if mirror is None else mirror.store.size(mirror.key(path))


# Locks ----------------------------------------------------------------------------------------------------------------


def lock(file: Path) -> FileLock | Lease:
    """The lock that a file is: of the operating system, which frees it when its process dies, or a lease."""
    mirror = _mirror(file)
    return FileLock(file) if mirror is None else Lease(mirror.store, mirror.key(file))
