"""The handle of a file or folder, wherever it is kept. Everything that a run stores is reached through one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sweep.storage.growing import GrowingFile
from sweep.storage.storage import Lock, Storage


@dataclass(frozen=True, repr=False)
class StoredPath:
    """A file or folder of a storage. Whatever is written through it is stored when the call or the block ends.

    It is no `pathlib.Path`, so nothing that would read or write a file of this machine takes it by mistake. As text it
    is what people call it. It belongs to one process: another one opens `place` by itself.

    Where the storage fails, all methods raise OSError with an errno of `sweep.storage.outage`.

    Attributes:
        storage: where it is kept.
        key: its path there, with slashes.
    """

    storage: Storage
    key: str

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"StoredPath({self.shown!r})"

    # Names ------------------------------------------------------------------------------------------------------------

    def __truediv__(self, name: str) -> StoredPath:
        return StoredPath(self.storage, (PurePosixPath(self.key) / name).as_posix())

    @property
    def name(self) -> str:
        """Last part of the path. Empty for the folder that was opened, if it is elsewhere."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> StoredPath:
        """The folder that it stands in."""
        return StoredPath(self.storage, PurePosixPath(self.key).parent.as_posix())

    @property
    def shown(self) -> str:
        """What people call it: the path, or the URI without keys and passwords."""
        return self.storage.shown(self.key)

    @property
    def place(self) -> str:
        """What another process opens: the absolute path, or the whole URI. Keys that stand in the URI included."""
        return self.storage.place(self.key)

    @property
    def is_remote(self) -> bool:
        """Whether it is kept elsewhere than on this machine."""
        return self.storage.is_remote

    # Reading ----------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return self.storage.exists(self.key)

    def read_bytes(self) -> bytes:
        """What the file holds now. Raises FileNotFoundError."""
        return self.storage.read(self.key)

    def read_text(self) -> str:
        """The same as UTF-8 text. Raises UnicodeDecodeError, too."""
        return self.read_bytes().decode("utf-8")

    def glob(self, pattern: str) -> list[StoredPath]:
        """Files and folders below this folder that match as for `Path.glob`, sorted. None without such a folder."""
        return [StoredPath(self.storage, key) for key in self.storage.glob(self.key, pattern)]

    @property
    def modified(self) -> float | None:
        """When the file was last written, in seconds since the epoch. None where it is missing or nobody knows."""
        return self.storage.modified([self.key])[0]

    def size(self) -> int:
        """Bytes that the file or folder takes up. 0 if nothing is there."""
        return self.storage.size(self.key)

    def local(self) -> Path:
        """A path of this machine for who can read nothing else, such as safetensors, pyarrow and SQLite.

        For files that never change under their name: what is kept elsewhere is fetched once. A folder counts when it
        has its `manifest.json`. Nothing is at the path if it is nowhere. The copy lasts as long as the process,
        and nobody writes to it.
        """
        return self.storage.local(self.key)

    def forget(self) -> None:
        """Drop what `local` fetched, to free its room or to fetch it anew. What is kept on this machine stays."""
        self.storage.forget(self.key)

    def lacks_bucket(self) -> bool:
        """Whether its bucket does not exist, which a listing does not tell from an empty one."""
        return self.storage.lacks_bucket()

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

    @contextmanager
    def replacing(self, *, private: bool = False) -> Iterator[Path]:
        """Yield an empty file of this machine. It replaces the file when the block ends without an error."""
        with self.storage.replacing(self.key, private=private) as file:
            yield file

    def make_folder(self) -> None:
        """Make this folder where there is none, to fail early. Elsewhere nothing is done: no folder needs making."""
        self.storage.make_folder(self.key)

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """Yield an empty folder of this machine. It becomes this folder when the block ends without an error.

        A complete folder that already stands here is kept, and the new one is dropped. Our folders are named by their
        content (a hash, or a step that determinism makes the same), so an orphan worker and its successor cannot
        disturb each other. Elsewhere, a folder is complete with its `manifest.json`, which is stored last.
        """
        with self.storage.new_folder(self.key) as folder:
            yield folder

    def is_taken(self, last: str) -> bool:
        """Whether `claim` could not have this folder, if `last` is the last of its files."""
        return self.storage.is_taken(self.key, last)

    def claim(self, files: Mapping[str, str]) -> bool:
        """Make this folder with these text files, for the owner alone: whole or not at all, and by one process only.

        A process that is killed meanwhile does not take the name.

        Args:
            files: text by name. The last one makes the folder complete.

        Returns:
            False if somebody has the folder, or the name, already.
        """
        return self.storage.claim(self.key, files)

    def remove(self) -> None:
        """Remove the file, or the folder so that nobody ever sees a part of it. Nothing there is no error."""
        self.storage.remove(self.key)

    # Shared use -------------------------------------------------------------------------------------------------------

    def lock(self) -> Lock:
        """The lock that this file is, not acquired yet."""
        return self.storage.lock(self.key)

    def growing(self) -> GrowingFile:
        """The file, for who writes piece by piece and only to files of this machine."""
        return self.storage.growing(self.key)


def newest(files: Sequence[StoredPath]) -> StoredPath:
    """The file of one storage that was written last. Raises ValueError without files."""
    times = files[0].storage.modified([file.key for file in files]) if files else []
    return max(zip(times, files, strict=True), key=lambda pair: pair[0] or 0.0)[1]


def json_text(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    """A JSON value as our files have it."""
    return json.dumps(value, indent=2) + "\n"
