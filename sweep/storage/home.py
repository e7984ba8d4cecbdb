"""Files of the driver's machine, for workers on machines that do not see them.

A worker asks the driver's machine for everything. There, `HomeFiles` does it to the files themselves (`LocalPath`), so
what holds for them holds here as well: whole or not at all, on the disk when the call returns, one lock for all. What
carries the questions and answers is a `Home`. On a cluster that is an actor beside the driver
(`sweep.execution.ray.home`).

Bytes go with their SHA-256. What arrives otherwise is refused before anybody can see it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self

from sweep.storage.copied import CopiedPath
from sweep.storage.growing import GrowingFile
from sweep.storage.home_files import fill, sent, whole
from sweep.storage.home_lock import HomeLock
from sweep.storage.local import hidden, stored_at
from sweep.storage.location import Location
from sweep.storage.path import not_a_pointer
from sweep.storage.scratch import make_scratch


class Home(Protocol):
    """The way to the driver's machine. Travels to other processes."""

    @property
    def place(self) -> str:
        """The folder there, as an absolute path."""

    def ask(self, what: str, key: str, *given: object) -> Any:  # noqa: ANN401 (what was asked for)
        """What `HomeFiles.ask` gives. Raises OSError with errno EIO where the machine cannot be reached."""


@dataclass(frozen=True, repr=False)
class HomePath(CopiedPath):
    """A file or folder of the driver's machine.

    Attributes:
        home: the way there.
    """

    home: Home

    @classmethod
    def open(cls, home: Home) -> HomePath:
        """The folder that a home serves. Raises RunError if there is no room for working copies."""
        return cls(PurePosixPath(), make_scratch(Location(f"home://driver{home.place}")), home)

    @property
    def name(self) -> str:
        """Last part of the path. The folder that was opened has its name, too."""
        return self.path.name or PurePosixPath(self.home.place).name

    def _ask(self, what: str, *given: object) -> Any:  # noqa: ANN401
        return _answer(self.home, what, self._key, *given)

    @property
    def shown(self) -> str:
        """The path on the driver's machine."""
        return self.place

    @property
    def place(self) -> str:
        """The same."""
        return str(PurePosixPath(self.home.place) / self.path)

    def lacks_bucket(self) -> bool:
        """There are none."""
        return False

    # Reading

    def exists(self) -> bool:
        """One question."""
        return bool(self._ask("exists"))

    def read_bytes(self) -> bytes:
        """What is stored now, whatever the copy holds."""
        return not_a_pointer(whole(self._ask("read"), self), self.shown)

    def glob(self, pattern: str) -> list[Self]:
        """One question."""
        return [replace(self, path=PurePosixPath(name)) for name in self._ask("glob", pattern)]

    def walk(self) -> list[str]:
        """One question."""
        return list(self._ask("walk"))

    def sha256(self) -> str:
        """Read on the driver's machine."""
        return str(self._ask("sha256"))

    def newest(self, pattern: str) -> Self | None:
        """As the file system there has it."""
        return next((replace(self, path=PurePosixPath(name)) for name in self._ask("newest", pattern)), None)

    @property
    def modified(self) -> float | None:
        """By the clock of the driver's machine."""
        found: float | None = self._ask("modified")
        return found

    def size(self) -> int:
        """Bytes that are occupied there."""
        return int(self._ask("size"))

    def local(self) -> Path:
        """A copy that is fetched once."""
        copy = self._copy.local()
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists() and (found := self._ask("fetch")) is not None:
            if isinstance(found, dict):
                with self._copy.new_folder() as temporary:
                    fill(temporary, found, self)
            else:
                self._copy.write_bytes(whole(found, self))
        return copy

    # Writing

    def make_folder(self) -> None:
        """One that is there stays."""
        self._ask("make_folder")

    @contextmanager
    def replacing(self, *, private: bool = False) -> Iterator[Path]:
        """The file of this machine is sent when the block has ended, and is gone then."""
        temporary = hidden(self._copy.local())
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        try:
            yield temporary
            self._ask("write", sent(temporary.read_bytes()), private)
        finally:
            temporary.unlink()
            self.forget()

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """All files are sent at once. The folder appears there when all of them have arrived whole."""
        temporary = hidden(self._copy.local())
        temporary.mkdir(parents=True)
        try:
            yield temporary
            names = stored_at(temporary).walk()
            self._ask("put_folder", {name: sent((temporary / name).read_bytes()) for name in names})
        finally:
            stored_at(temporary).remove()
            self.forget()

    def is_taken(self, last: str) -> bool:
        """As on the driver's machine."""
        return bool(self._ask("is_taken", last))

    def claim(self, files: Mapping[str, str]) -> bool:
        """As on the driver's machine."""
        return bool(self._ask("claim", dict(files)))

    def remove(self) -> None:
        """There and here."""
        self._ask("remove")
        self.forget()

    # Shared use

    def lock(self) -> HomeLock:
        """The lock that the file is on the driver's machine."""
        return HomeLock(self._ask, self.shown)

    def growing(self) -> GrowingFile:
        """A file of this machine, sent from here."""
        copy = self._copy.local()
        copy.parent.mkdir(parents=True, exist_ok=True)
        return GrowingFile(copy, _Uploads(self.home), self._key)


@dataclass(frozen=True)
class _Uploads:
    """What a growing file is sent by."""

    home: Home

    def put(self, source: Path, key: str) -> None:
        """Store a file of this machine."""
        self.write(key, source.read_bytes())

    def write(self, key: str, content: bytes) -> None:
        """`put` from memory."""
        _answer(self.home, "write", key, sent(content), False)


def _answer(home: Home, what: str, key: str, *given: object) -> Any:  # noqa: ANN401 (what was asked for)
    answer = home.ask(what, key, *given)
    if isinstance(answer, Exception):
        raise answer
    return answer
