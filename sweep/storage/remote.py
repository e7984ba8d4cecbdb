"""Files elsewhere, and the working copies that this machine has of them.

A process works in scratch of its own. What is written is written there first and uploaded before the call returns. What
needs a file of this machine is given a copy. Nothing in scratch is needed after the process: what counts is what is
stored remotely.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from filelock import Timeout
from pyarrow.fs import FileType

from sweep.storage.growing import GrowingFile
from sweep.storage.lease import Lease
from sweep.storage.local import LocalStorage, hidden
from sweep.storage.location import Location
from sweep.storage.remote_files import LAST, RemoteFiles
from sweep.storage.scratch import make_scratch
from sweep.storage.storage import Storage

CLAIM = ".claim.lock"


class RemoteStorage(Storage):
    """The files below one location. Keys are relative to it, and `.` is the location itself."""

    is_remote = True

    def __init__(self, location: Location) -> None:
        """Connect, and make room for working copies.

        Raises:
            RunError: the address is wrong, the storage cannot be reached, or there is no room.
        """
        self._files = RemoteFiles.open(location)
        self._scratch = make_scratch(location)
        self._here = LocalStorage()

    def _copy(self, key: str) -> Path:
        return self._scratch / key

    def shown(self, key: str) -> str:
        """The URI without keys and passwords."""
        return self._files.location.child(key).shown

    def place(self, key: str) -> str:
        """The whole URI."""
        return self._files.location.child(key).uri

    def lacks_bucket(self) -> bool:
        """As far as the storage tells."""
        return self._files.lacks_bucket()

    # Reading ----------------------------------------------------------------------------------------------------------

    def exists(self, key: str) -> bool:
        """Whether something is stored, be it complete or not."""
        return bool(self._files.kind(key) != FileType.NotFound)

    def read(self, key: str) -> bytes:
        """What is stored now."""
        content = self._files.read(key)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.shown(key))
        return content

    def glob(self, key: str, pattern: str) -> list[str]:
        """One request per folder that has to be looked into."""
        found = [PurePosixPath(key)]
        *above, last = pattern.split("/")
        for part in above:
            if _is_exact(part):
                found = [one / part for one in found]
            else:
                found = [
                    one / name for one in found for name in self._files.folders(str(one)) if fnmatchcase(name, part)
                ]
        if _is_exact(last):
            return [str(one / last) for one in found if self.exists(str(one / last))]
        return [str(one / name) for one in found for name in self._files.names(str(one)) if fnmatchcase(name, last)]

    def modified(self, keys: list[str]) -> list[float | None]:
        """One request for all."""
        return self._files.modified(keys)

    def size(self, key: str) -> int:
        """Bytes that are stored, without what the storage itself keeps besides."""
        return self._files.size(key)

    # Working copies ---------------------------------------------------------------------------------------------------

    def local(self, key: str) -> Path:
        """A copy that is fetched once."""
        copy = self._copy(key)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            self._fetch(key, copy)
        return copy

    def _fetch(self, key: str, copy: Path) -> None:
        """A folder without its manifest is not fetched: its writer was killed, or is not done yet."""
        kind = self._files.kind(key)
        if kind not in (FileType.File, FileType.Directory):
            return
        if kind == FileType.Directory and not self._is_complete(key):
            return
        temporary = hidden(copy)
        try:
            if kind == FileType.File:
                self._files.get(key, temporary)
            else:
                temporary.mkdir()
                self._files.get_folder(key, temporary)
                if not (temporary / LAST).exists():  # removed at this moment
                    return
            temporary.rename(copy)
        except FileNotFoundError:  # removed at this moment, too
            return
        finally:
            _remove(temporary)

    def _is_complete(self, key: str) -> bool:
        return self.is_taken(key, LAST)

    def forget(self, key: str) -> None:
        """The next `local` fetches it anew."""
        _remove(self._copy(key))

    # Writing ----------------------------------------------------------------------------------------------------------

    def make_folder(self, key: str) -> None:
        """A folder is there as soon as it holds something."""

    @contextmanager
    def replacing(self, key: str, *, private: bool = False) -> Iterator[Path]:
        """The copy is replaced first. It goes again if it cannot be uploaded."""
        copy = self._copy(key)
        with self._here.replacing(copy.as_posix(), private=private) as file:
            yield file
        try:
            self._files.put(copy, key)
        except BaseException:
            _remove(copy)
            raise

    @contextmanager
    def new_folder(self, key: str) -> Iterator[Path]:
        """The files are uploaded one by one, the manifest last. What a killed writer left is written over."""
        copy = self._copy(key)
        with self._here.new_folder(copy.as_posix()) as folder:
            yield folder
        if self._is_complete(key):
            _remove(copy)  # the next reader fetches what stands there
            return
        try:
            self._files.put_folder(copy, key)
        except BaseException:
            _remove(copy)
            raise

    def is_taken(self, key: str, last: str) -> bool:
        """A folder without its last file is what a killed process left. It takes no name."""
        return bool(self._files.kind(f"{key}/{last}") == FileType.File)

    def claim(self, key: str, files: Mapping[str, str]) -> bool:
        """Under a lease, because folders cannot be renamed everywhere."""
        try:
            with self.lock(f"{key}/{CLAIM}"):
                if self.is_taken(key, list(files)[-1]):
                    return False
                for name, text in files.items():
                    self._files.write(f"{key}/{name}", text.encode())
        except Timeout:
            return False
        return True

    def remove(self, key: str) -> None:
        """A folder's manifest goes first."""
        self._files.delete(key)
        _remove(self._copy(key))

    # Shared use -------------------------------------------------------------------------------------------------------

    def lock(self, key: str) -> Lease:
        """A lease: the storage has no locks."""
        return Lease(self._files, key)

    def growing(self, key: str) -> GrowingFile:
        """A file of scratch, uploaded from there."""
        copy = self._copy(key)
        copy.parent.mkdir(parents=True, exist_ok=True)
        return GrowingFile(copy, self._files, key)


def _is_exact(part: str) -> bool:
    return not any(sign in part for sign in "*?[")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
