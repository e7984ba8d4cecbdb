"""What the driver's machine does to its files for workers that do not see them (`sweep.storage.home`)."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from selector.hashes import content_hash
from sweep.errors import RunError
from sweep.storage.local import LocalPath, stored_at
from sweep.storage.path import StoredPath
from sweep.storage.remote_files import LAST

PATIENCE_SECONDS = 20.0
"""A lock whose holder was not heard of for so long is free. The driver's machine alone measures this time."""
Sent = tuple[bytes, str]
"""Content and its SHA-256, 64 hex digits."""


@dataclass
class _Held:
    lock: FileLock
    token: str
    heard: float


class HomeFiles:
    """Does what workers ask for, to the files below one folder and to no others. Its methods may be called at once."""

    def __init__(self, root: Path, patience: float = PATIENCE_SECONDS) -> None:
        """Serve `root`. `patience`: seconds that a lock outlives the last word of its holder."""
        self._root = root
        self._patience = patience
        self._held: dict[str, _Held] = {}
        self._guard = threading.Lock()
        self._watch: threading.Thread | None = None
        self._does: dict[str, Callable[..., Any]] = {
            # Reading
            "exists": LocalPath.exists,
            "read": _read,
            "glob": lambda folder, pattern: self._keys(folder.glob(_inside(pattern))),
            "walk": LocalPath.walk,
            "sha256": LocalPath.sha256,
            "newest": lambda folder, pattern: self._keys(filter(None, [folder.newest(_inside(pattern))])),
            "modified": lambda file: file.modified,
            "size": LocalPath.size,
            "is_taken": lambda folder, last: folder.is_taken(_inside(last)),
            "fetch": _fetch,
            # Writing
            "make_folder": LocalPath.make_folder,
            "write": _write,
            "put_folder": _put_folder,
            "claim": lambda folder, files: folder.claim({_inside(name): text for name, text in files.items()}),
            "remove": LocalPath.remove,
            # Locks
            "lock": self._lock,
            "beat": self._beat,
            "unlock": self._unlock,
        }

    def ask(self, what: str, key: str, *given: Any) -> Any:  # noqa: ANN401
        """As `Home.ask`, with errors as values: how they travel is not for who carries them to decide."""
        try:
            return self._does[what](self._at(key), *given)
        except (OSError, RunError) as error:
            return error

    def _at(self, key: str) -> LocalPath:
        return stored_at(self._root / _inside(key))

    def _keys(self, found: Iterable[LocalPath]) -> list[str]:
        return [Path(one.path).relative_to(self._root).as_posix() for one in found]

    def _lock(self, file: LocalPath, token: str) -> bool:
        """Take the lock that a file is, which holds against processes of this machine, too. False if it is held."""
        key = str(file.path)
        with self._guard:
            self._free_silent()
            held = self._held.get(key)
            if held is not None:
                return held.token == token
            file.local().parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(file.local(), thread_local=False)  # whichever thread is asked lets go of it
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            self._held[key] = _Held(lock, token, time.monotonic())
            if self._watch is None:
                self._watch = threading.Thread(target=self._free_now_and_then, name="locks", daemon=True)
                self._watch.start()
        return True

    def _beat(self, file: LocalPath, token: str) -> bool:
        """Whether the lock is still the holder's, which is heard of by this."""
        with self._guard:
            held = self._held.get(str(file.path))
            if held is None or held.token != token:
                return False
            held.heard = time.monotonic()
        return True

    def _unlock(self, file: LocalPath, token: str) -> None:
        with self._guard:
            held = self._held.get(str(file.path))
            if held is not None and held.token == token:
                self._held.pop(str(file.path)).lock.release()

    def _free_now_and_then(self) -> None:
        """Processes of this machine may wait for a lock whose holder is gone, and they ask nobody."""
        while True:
            time.sleep(self._patience / 4)
            with self._guard:
                self._free_silent()

    def _free_silent(self) -> None:
        now = time.monotonic()
        for key in [key for key, held in self._held.items() if now - held.heard > self._patience]:
            self._held.pop(key).lock.release()


def _read(file: LocalPath) -> Sent:
    return sent(file.local().read_bytes())


def _fetch(path: LocalPath) -> Sent | dict[str, Sent] | None:
    """A file, or a complete folder with all its files. None where neither is there."""
    try:
        if path.local().is_file():
            return _read(path)
        if not (path / LAST).exists():
            return None
        return {name: _read(path / name) for name in path.walk()}
    except FileNotFoundError:  # removed at this moment
        return None


def _write(file: LocalPath, given: Sent, private: bool) -> None:
    file.write_bytes(whole(given, file), private=private)


def _put_folder(folder: LocalPath, files: Mapping[str, Sent]) -> None:
    with folder.new_folder() as temporary:
        fill(temporary, files, folder)


def fill(folder: Path, files: Mapping[str, Sent], named: StoredPath) -> None:
    """Write files into a folder. They are called `named` where one of them did not arrive whole.

    Raises:
        OSError: a content is not what was sent.
        RunError: a name leads out of the folder.
    """
    for name, given in files.items():
        _inside(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(whole(given, named / name))


def _inside(key: str) -> str:
    """A path, or a pattern of paths, that stays below the folder. Raises RunError otherwise."""
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts:
        raise RunError(f"{key!r} leads out of the folder")
    return key


def sent(content: bytes) -> Sent:
    """Content as it travels."""
    return content, content_hash([content])


def whole(given: Sent, file: StoredPath) -> bytes:
    """The content. Raises OSError with errno EIO if it is not what was sent."""
    content, expected = given
    if content_hash([content]) != expected:
        raise OSError(errno.EIO, "arrived damaged: its SHA-256 is not what was sent", str(file))
    return content
