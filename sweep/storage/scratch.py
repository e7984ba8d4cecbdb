"""Room on this machine for what can be had again: working copies of what is kept elsewhere."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from sweep.errors import RunError
from sweep.storage.location import Location

CACHE = "SWEEP_CACHE"


def cache_folder() -> Path:
    """Where this machine keeps what can be had again: `$SWEEP_CACHE`, or below the user's cache folder.

    Raises:
        RunError: the user has no home, and nothing else is named.
    """
    named = os.environ.get(CACHE)
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "demonstration-sweep"
    except RuntimeError:
        raise RunError(
            f"no home folder: HOME is not set, and the system does not know user {os.getuid()}; name a folder for "
            f"working copies with the environment variable {CACHE}"
        ) from None


def make_scratch(location: Location) -> Path:
    """An empty folder for this process's copies of what is kept at a location. It is for its owner alone.

    It goes when the process ends. If the process was killed, it goes when somebody makes the next one.

    Raises:
        RunError: there is no room for it.
    """
    folder = cache_folder() / "mirrors"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder / ".lock"):
            _remove_abandoned(folder)
            own = folder / f"{hashlib.sha256(location.uri.encode()).hexdigest()[:16]}-{os.getpid()}-{uuid4().hex[:8]}"
            own.mkdir(mode=0o700)
            in_use = FileLock(own / ".alive")
            in_use.acquire()
        root = own / "files"
        root.mkdir()
    except OSError as error:
        raise RunError(
            f"{error.filename or folder}: no room for working copies of {location.shown} "
            f"({error.strerror or error}); name another folder with the environment variable {CACHE}"
        ) from None
    atexit.register(_remove, own, in_use)  # which also holds the lock until then
    return root


def _remove(own: Path, in_use: FileLock) -> None:
    shutil.rmtree(own, ignore_errors=True)
    in_use.release()


def _remove_abandoned(folder: Path) -> None:
    """Scratch of processes that were killed; a living one holds its lock."""
    for one in folder.iterdir():
        if not one.is_dir():
            continue
        lock = FileLock(one / ".alive")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        shutil.rmtree(one, ignore_errors=True)
        lock.release()
