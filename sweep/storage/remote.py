"""Files elsewhere, and the working copies that this machine has of them.

A process works in scratch of its own. What is written is written there first and uploaded before the call returns. What
needs a file of this machine is given a copy. Nothing in scratch is needed after the process: what counts is what is
stored remotely.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Self

from filelock import Timeout
from pyarrow.fs import FileType

from sweep.storage.copied import CopiedPath
from sweep.storage.growing import GrowingFile
from sweep.storage.hashes import file_hash
from sweep.storage.lease import Lease
from sweep.storage.local import hidden, stored_at
from sweep.storage.location import Location
from sweep.storage.path import not_a_pointer
from sweep.storage.remote_files import LAST, RemoteFiles
from sweep.storage.scratch import make_scratch

CLAIM = ".claim.lock"


@dataclass(frozen=True, repr=False)
class RemotePath(CopiedPath):
    """A file or folder elsewhere.

    Attributes:
        files: what is below the folder that was opened.
    """

    files: RemoteFiles

    @classmethod
    def open(cls, location: Location) -> RemotePath:
        """Connect to a folder, and make room for working copies.

        Raises:
            RunError: the address is wrong, the storage cannot be reached, or there is no room.
        """
        return cls(PurePosixPath(), make_scratch(location), RemoteFiles.open(location))

    @property
    def shown(self) -> str:
        """The URI without keys and passwords."""
        return self.files.location.child(self._key).shown

    @property
    def place(self) -> str:
        """The whole URI."""
        return self.files.location.child(self._key).uri

    def lacks_bucket(self) -> bool:
        """As far as the storage tells."""
        return self.files.lacks_bucket()

    # Reading ----------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """One request."""
        return bool(self.files.kind(self._key) != FileType.NotFound)

    def read_bytes(self) -> bytes:
        """What is stored now, whatever the copy holds."""
        content = self.files.read(self._key)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.shown)
        return not_a_pointer(content, self.shown)

    def glob(self, pattern: str) -> list[Self]:
        """One request per folder that has to be looked into."""
        found = [self]
        *above, last = pattern.split("/")
        for part in above:
            if _is_exact(part):
                found = [one / part for one in found]
            else:
                found = [
                    one / name for one in found for name in self.files.folders(one._key) if fnmatchcase(name, part)
                ]
        if _is_exact(last):
            return [one / last for one in found if (one / last).exists()]
        return [one / name for one in found for name in self.files.names(one._key) if fnmatchcase(name, last)]

    def walk(self) -> list[str]:
        """One request, or as many as a listing of this length takes."""
        return sorted(self.files.files(self._key))

    def sha256(self) -> str:
        """A copy is fetched for it and dropped."""
        temporary = hidden(self.scratch / "hashed")
        try:
            self.files.get(self._key, temporary)
            return file_hash(temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def newest(self, pattern: str) -> Self | None:
        """One request for the times of all."""
        found = self.glob(pattern)
        times = self.files.modified([file._key for file in found])
        return max(zip(times, found, strict=True), key=lambda pair: pair[0] or 0.0)[1] if found else None

    @property
    def modified(self) -> float | None:
        """As far as the storage tells."""
        return self.files.modified([self._key])[0]

    def size(self) -> int:
        """Bytes that are stored, without what the storage itself keeps besides."""
        return self.files.size(self._key)

    # Working copies ---------------------------------------------------------------------------------------------------

    def local(self) -> Path:
        """A copy that is fetched once."""
        copy = self._copy.local()
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            self._fetch(copy)
        return copy

    def _fetch(self, copy: Path) -> None:
        """A folder without its manifest is not fetched: its writer was killed, or is not done yet."""
        kind = self.files.kind(self._key)
        if kind not in (FileType.File, FileType.Directory) or (kind == FileType.Directory and not self.is_taken(LAST)):
            return
        temporary = hidden(copy)
        try:
            if kind == FileType.File:
                self.files.get(self._key, temporary)
            else:
                temporary.mkdir()
                self.files.get_folder(self._key, temporary)
                if not (temporary / LAST).exists():  # removed at this moment
                    return
            temporary.rename(copy)
        except FileNotFoundError:  # removed at this moment, too
            return
        finally:
            stored_at(temporary).remove()

    # Writing ----------------------------------------------------------------------------------------------------------

    def make_folder(self) -> None:
        """A folder is there as soon as it holds something."""

    @contextmanager
    def replacing(self, *, private: bool = False) -> Iterator[Path]:
        """The copy is replaced first. It goes again if it cannot be uploaded."""
        with self._copy.replacing(private=private) as file:
            yield file
        try:
            self.files.put(self._copy.local(), self._key)
        except BaseException:
            self._copy.remove()
            raise

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """The files are uploaded one by one, the manifest last. What a killed writer left is written over."""
        with self._copy.new_folder() as folder:
            yield folder
        if self.is_taken(LAST):
            self._copy.remove()  # the next reader fetches what stands there
            return
        try:
            self.files.put_folder(self._copy.local(), self._key)
        except BaseException:
            self._copy.remove()
            raise

    def is_taken(self, last: str) -> bool:
        """A folder without its last file is what a killed process left. It takes no name."""
        return bool(self.files.kind(f"{self._key}/{last}") == FileType.File)

    def claim(self, files: Mapping[str, str]) -> bool:
        """Under a lease, because folders cannot be renamed everywhere."""
        try:
            with (self / CLAIM).lock():
                if self.is_taken(list(files)[-1]):
                    return False
                for name, text in files.items():
                    (self / name).write_text(text, private=True)
        except Timeout:
            return False
        return True

    def remove(self) -> None:
        """A folder's manifest goes first."""
        self.files.delete(self._key)
        self._copy.remove()

    # Shared use -------------------------------------------------------------------------------------------------------

    def lock(self) -> Lease:
        """A lease: the storage has no locks."""
        return Lease(self.files, self._key)

    def growing(self) -> GrowingFile:
        """A file of scratch, uploaded from there."""
        copy = self._copy.local()
        copy.parent.mkdir(parents=True, exist_ok=True)
        return GrowingFile(copy, self.files, self._key)


def _is_exact(part: str) -> bool:
    return not any(sign in part for sign in "*?[")
