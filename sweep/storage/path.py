"""The handle of a file or folder, wherever it is kept. Everything that a run stores is reached through one."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Self

from filelock import FileLock

from selector.files import lfs_problem
from sweep.errors import RunError
from sweep.storage.growing import GrowingFile
from sweep.storage.home_lock import HomeLock
from sweep.storage.lease import Lease

Lock = FileLock | Lease | HomeLock
"""Held by one process at a time: the operating system's, which frees it when its holder dies, a lease, or the operating
system's on another machine.
"""


@dataclass(frozen=True, repr=False)
class StoredPath(ABC):
    """A file or folder: here (`LocalPath`), elsewhere (`RemotePath`), or with the driver (`HomePath`).

    All of them pass one suite, tests/sweep/storage.

    It is no `pathlib.Path`, so nothing that would read or write a file of this machine takes it by mistake. As text it
    is what people call it. It belongs to one process: another one opens `place` by itself.

    Invariants:
    - What is written through it is stored when the call or the block ends, and not at all if that raises.
    - A reader sees a file as it was or as it is, never a part of it.
    - If the storage fails, every method raises an OSError for which `sweep.storage.outage.is_outage` is true.

    Attributes:
        path: absolute or relative to the working directory, elsewhere relative to the folder that was opened.
        is_remote: whether it is kept elsewhere than on this machine.
    """

    is_remote: ClassVar[bool]
    path: PurePosixPath

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown!r})"

    # Names ------------------------------------------------------------------------------------------------------------

    def __truediv__(self, name: str) -> Self:
        return replace(self, path=self.path / name)

    @property
    def name(self) -> str:
        """Last part of the path. Empty for the folder that was opened, if it is elsewhere."""
        return self.path.name

    @property
    def parent(self) -> Self:
        """The folder that it stands in."""
        return replace(self, path=self.path.parent)

    @property
    @abstractmethod
    def shown(self) -> str:
        """What people call it: the path, or the URI without keys and passwords."""

    @property
    @abstractmethod
    def place(self) -> str:
        """What another process opens: the absolute path, or the whole URI. Keys that stand in the URI included."""

    # Reading ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is a file or folder, be it complete or not."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """What the file holds now. Raises FileNotFoundError, or RunError if Git LFS left a pointer in its place."""

    def read_text(self) -> str:
        """The same as UTF-8 text. Raises UnicodeDecodeError, too."""
        return self.read_bytes().decode("utf-8")

    @abstractmethod
    def glob(self, pattern: str) -> list[Self]:
        """Files and folders below this folder that match as for `Path.glob`, sorted. None without such a folder."""

    @abstractmethod
    def walk(self) -> list[str]:
        """All files below this folder, however deep, as paths relative to it, sorted. None without such a folder."""

    @abstractmethod
    def sha256(self) -> str:
        """SHA-256 of the file as it is now, 64 hex digits. Memory stays small. Raises FileNotFoundError."""

    @abstractmethod
    def newest(self, pattern: str) -> Self | None:
        """The file among those that match that was written last. None if none matches."""

    @property
    @abstractmethod
    def modified(self) -> float | None:
        """When the file was last written, in seconds since the epoch. None where it is missing or nobody knows."""

    @abstractmethod
    def size(self) -> int:
        """Bytes that the file or folder takes up. 0 if nothing is there."""

    @abstractmethod
    def local(self) -> Path:
        """A path of this machine for who can read nothing else, such as safetensors, pyarrow and SQLite.

        For files that never change under their name: what is kept elsewhere is fetched once. A folder counts when it
        has its `manifest.json`. Nothing is at the path if it is nowhere. The copy lasts as long as the process, and
        nobody writes to it.
        """

    @abstractmethod
    def forget(self) -> None:
        """Drop what `local` fetched, to free its room or to fetch it anew. What is kept on this machine stays."""

    @abstractmethod
    def lacks_bucket(self) -> bool:
        """Whether its bucket does not exist, which a listing does not tell from an empty one."""

    # Writing ----------------------------------------------------------------------------------------------------------

    def write_bytes(self, content: bytes, *, private: bool = False) -> None:
        """Store a file. Readers see the old one or the new one. `private`: for the owner alone."""
        with self.replacing(private=private) as file:
            file.write_bytes(content)

    def write_text(self, text: str, *, private: bool = False) -> None:
        """Store UTF-8 text in the same way."""
        self.write_bytes(text.encode(), private=private)

    def write_json(self, value: Any, *, private: bool = False) -> None:  # noqa: ANN401 (any JSON value)
        """Store a JSON value in the same way."""
        self.write_text(json_text(value), private=private)

    @abstractmethod
    def replacing(self, *, private: bool = False) -> AbstractContextManager[Path]:
        """Yield an empty file of this machine. It replaces the file when the block ends without an error."""

    @abstractmethod
    def make_folder(self) -> None:
        """Make this folder where there is none, to fail early. Elsewhere nothing is done: no folder needs making."""

    @abstractmethod
    def new_folder(self) -> AbstractContextManager[Path]:
        """Yield an empty folder of this machine. It becomes this folder when the block ends without an error.

        A complete folder that already stands here is kept, and the new one is dropped. Our folders are named by their
        content (a hash, or a step that determinism makes the same), so an orphan worker and its successor cannot
        disturb each other. Elsewhere, a folder is complete with its `manifest.json`, which is stored last.
        """

    @abstractmethod
    def is_taken(self, last: str) -> bool:
        """Whether `claim` could not have this folder, if `last` is the last of its files."""

    @abstractmethod
    def claim(self, files: Mapping[str, str]) -> bool:
        """Make this folder with these text files, for the owner alone: whole or not at all, and by one process only.

        A process that is killed meanwhile does not take the name.

        Args:
            files: text by name. The last one makes the folder complete.

        Returns:
            False if somebody has the folder, or the name, already.
        """

    @abstractmethod
    def remove(self) -> None:
        """Remove the file, or the folder so that nobody ever sees a part of it. Nothing there is no error."""

    # Shared use -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def lock(self) -> Lock:
        """The lock that this file is, not acquired yet."""

    @abstractmethod
    def growing(self) -> GrowingFile:
        """The file, for who writes piece by piece and only to files of this machine."""


def not_a_pointer(content: bytes, shown: str) -> bytes:
    """A file's content. Raises RunError if it is a pointer of Git LFS."""
    if problem := lfs_problem(content):
        raise RunError(f"{shown}: {problem}")
    return content


def json_text(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    """A JSON value as our files have it."""
    return json.dumps(value, indent=2) + "\n"
