"""Files on a pyarrow file system, written so that nobody ever reads a part of one."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from sweep.errors import RunError
from sweep.remote.location import Location

# Here an object appears when its upload is complete. Elsewhere a file is visible while it grows.
OBJECT_STORES = frozenset({"s3", "gcs", "abfs"})
LAST = "manifest.json"
"""The file that makes a folder complete: written last, removed first."""
COPY_BYTES = 4 * 1024**2


class RemoteStore:
    """The files below one location. Keys are paths relative to it, with slashes.

    Every failure of the file system is an OSError with errno EIO that names the file by its URI, so that it counts as
    an outage of the storage (`sweep.outage`) and never as a failure of a configuration.
    """

    def __init__(self, location: Location, filesystem: fs.FileSystem, root: str) -> None:
        self.location = location
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._appears_whole = filesystem.type_name in OBJECT_STORES

    @classmethod
    def open(cls, location: Location) -> RemoteStore:
        """Connect. Raises RunError if the address, or what it takes to reach it, is wrong."""
        return cls(location, *_filesystem(location))

    def put(self, source: Path, key: str) -> None:
        """Store a file; readers see the old one or the new one."""
        with source.open("rb") as stream:
            self._write(key, stream)

    def write(self, key: str, content: bytes) -> None:
        """`put` from memory."""
        self._write(key, pa.BufferReader(content))

    def _write(self, key: str, stream: Any) -> None:  # noqa: ANN401 (anything with read)
        target = self._path(key)
        with self._told(key):
            if not self._appears_whole:
                self._fs.create_dir(target.rpartition("/")[0], recursive=True)
            folder, _, name = target.rpartition("/")
            written = target if self._appears_whole else f"{folder}/.{name}.{uuid4().hex}"
            with self._fs.open_output_stream(written) as out:
                shutil.copyfileobj(stream, out, COPY_BYTES)
            if written != target:
                self._fs.move(written, target)

    def put_folder(self, source: Path, key: str) -> None:
        """Store a folder's files, the one that makes it complete last."""
        files = [file for file in sorted(source.rglob("*")) if file.is_file()]
        for file in sorted(files, key=lambda file: file.name == LAST):
            self.put(file, f"{key}/{file.relative_to(source).as_posix()}")

    def get(self, key: str, target: Path) -> None:
        """Fetch a file. Raises FileNotFoundError if there is none."""
        with self._told(key), self._fs.open_input_stream(self._path(key)) as stream, target.open("wb") as out:
            shutil.copyfileobj(stream, out, COPY_BYTES)

    def get_folder(self, key: str, target: Path) -> None:
        """Fetch all files of a folder into one that is made here."""
        for name in self.files(key):
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self.get(f"{key}/{name}", file)

    def read(self, key: str) -> bytes | None:
        """Content of a file; None if there is none."""
        try:
            with self._told(key), self._fs.open_input_stream(self._path(key)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def kind(self, key: str) -> fs.FileType:
        """Whether a file, a folder, or nothing is there."""
        return self._info([key])[0].type

    def modified(self, keys: list[str]) -> list[float | None]:
        """When files were last written, in seconds since the epoch; None for those that are not there."""
        infos = self._info(keys)
        return [one.mtime.timestamp() if one.type == fs.FileType.File and one.mtime else None for one in infos]

    def _info(self, keys: list[str]) -> list[Any]:
        with self._told(keys[0] if keys else ""):
            found: list[Any] = self._fs.get_file_info([self._path(key) for key in keys])
            return found

    def names(self, key: str) -> list[str]:
        """What a folder holds, sorted; files and folders. Nothing if there is no such folder."""
        return sorted(info.base_name for info in self._select(key, recursive=False))

    def files(self, key: str) -> dict[str, int]:
        """Sizes in bytes of all files below a folder, by path relative to it."""
        start = len(self._path(key)) + 1
        found = self._select(key, recursive=True)
        return {info.path[start:]: info.size for info in found if info.type == fs.FileType.File}

    def _select(self, key: str, *, recursive: bool) -> list[Any]:
        with self._told(key):
            selector = fs.FileSelector(self._path(key), allow_not_found=True, recursive=recursive)
            found: list[Any] = self._fs.get_file_info(selector)
            return found

    def delete(self, key: str) -> None:
        """Remove a file, or a folder beginning with the file that makes it complete. Nothing there is no error."""
        kind = self.kind(key)
        with self._told(key):
            if kind == fs.FileType.File:
                self._delete_file(self._path(key))
            elif kind == fs.FileType.Directory:
                if self.kind(f"{key}/{LAST}") == fs.FileType.File:
                    self._delete_file(self._path(f"{key}/{LAST}"))
                self._delete_folder(self._path(key))

    def _delete_file(self, path: str) -> None:
        try:
            self._fs.delete_file(path)
        except FileNotFoundError:  # somebody else was faster
            return

    def _delete_folder(self, path: str) -> None:
        try:
            self._fs.delete_dir(path)
        except FileNotFoundError:
            return

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key not in ("", ".") else self._root

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno == errno.EIO and error.filename is not None:
                raise  # named already
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OSError(errno.EIO, f"the storage failed: {reason}", self.location.child(key).shown) from error


def _filesystem(location: Location) -> tuple[fs.FileSystem, str]:
    """Pyarrow's own file systems first, then fsspec's, as Ray does."""
    try:
        filesystem, root = fs.FileSystem.from_uri(location.uri)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise RunError(f"{location.shown}: {_first_line(error)}") from None
        return _fsspec(location)
    except (OSError, pa.ArrowException, ImportError) as error:
        raise RunError(f"{location.shown}: cannot be reached: {_first_line(error)}") from None
    return filesystem, root


def _fsspec(location: Location) -> tuple[fs.FileSystem, str]:
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(location.uri)
    except (ValueError, ImportError) as error:
        raise RunError(
            f"{location.shown}: {_first_line(error)}; pyarrow knows s3, gs, abfs, hdfs and file, others need their "
            "fsspec package"
        ) from None
    except Exception as error:  # a foreign package's own kinds of error, at the door
        raise RunError(f"{location.shown}: cannot be reached: {_first_line(error)}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), root


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
