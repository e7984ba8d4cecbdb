"""What a place to keep files must be able to do. `StoredPath` is how everybody uses it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from filelock import FileLock

from sweep.storage.growing import GrowingFile
from sweep.storage.lease import Lease

Lock = FileLock | Lease
"""Held by one process at a time: the operating system's, which frees it when its holder dies, or a lease."""


class Storage(ABC):
    """Files and folders by key, a path with slashes.

    `LocalStorage` and `RemoteStorage` implement it and pass one suite, `tests/sweep/storage/test_storage.py`.

    Invariants:
    - A reader sees a file as it was or as it is, never a part of it.
    - What a writer was given to write to is stored when its block has ended, and not at all if that raised.
    """

    is_remote: ClassVar[bool]

    @abstractmethod
    def shown(self, key: str) -> str:
        """The address for people: without keys and passwords."""

    @abstractmethod
    def place(self, key: str) -> str:
        """The address for another process: an absolute path, or a whole URI with its keys."""

    @abstractmethod
    def lacks_bucket(self) -> bool:
        """Whether the bucket is missing, which a listing does not tell from an empty one."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is a file or folder."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """What a file holds now. Raises FileNotFoundError."""

    @abstractmethod
    def glob(self, key: str, pattern: str) -> list[str]:
        """Keys of files and folders below a folder that match as for `Path.glob`, sorted."""

    @abstractmethod
    def modified(self, keys: list[str]) -> list[float | None]:
        """When files were last written, in seconds since the epoch. None where nothing is there or nobody knows."""

    @abstractmethod
    def size(self, key: str) -> int:
        """Bytes that a file or folder takes up."""

    @abstractmethod
    def local(self, key: str) -> Path:
        """A path of this machine with the file or the complete folder. Nothing is there if it is nowhere."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Drop what this machine holds of a file or folder that is kept elsewhere."""

    @abstractmethod
    def make_folder(self, key: str) -> None:
        """Make an empty folder where there is none, with those above it."""

    @abstractmethod
    def replacing(self, key: str, *, private: bool) -> AbstractContextManager[Path]:
        """Give an empty file of this machine that becomes the file of this key."""

    @abstractmethod
    def new_folder(self, key: str) -> AbstractContextManager[Path]:
        """Give an empty folder of this machine that becomes the folder of this key, unless one stands there."""

    @abstractmethod
    def is_taken(self, key: str, last: str) -> bool:
        """Whether `claim` could not have the folder whose last file is this one."""

    @abstractmethod
    def claim(self, key: str, files: Mapping[str, str]) -> bool:
        """Make a folder of private text files, the last one last. False if somebody has it."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove a file, or a folder so that nobody sees a part of it. Nothing there is no error."""

    @abstractmethod
    def lock(self, key: str) -> Lock:
        """The lock that a file is."""

    @abstractmethod
    def growing(self, key: str) -> GrowingFile:
        """A file that others may read while it is written."""
