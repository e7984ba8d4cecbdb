"""Files on a pyarrow file system, written so that nobody ever reads a part of one."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote
from uuid import uuid4

import fsspec
import pyarrow as pa
from pyarrow import fs

from sweep.errors import RunError
from sweep.storage.location import Location

# Here an object appears when its upload is complete. Elsewhere a file is visible while it grows, on Azure too.
OBJECT_STORES = frozenset({"s3", "gcs"})
LAST = "manifest.json"
"""The file that makes a folder complete: written last, removed first."""
COPY_BYTES = 4 * 1024**2
READS = 10


class RemoteFiles:
    """The files below one location. Keys are paths relative to it, with slashes.

    Every failure of the file system is an OSError with errno EIO that names the file by its URI, so that it counts as
    an outage of the storage (`sweep.storage.outage`) and never as a failure of a configuration.
    """

    def __init__(self, location: Location, filesystem: fs.FileSystem, root: str) -> None:
        self.location = location
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._appears_whole = filesystem.type_name in OBJECT_STORES

    @classmethod
    def open(cls, location: Location) -> RemoteFiles:
        """Connect. Raises RunError if the address, or what it takes to reach it, is wrong."""
        return cls(location, *_filesystem(location))

    def put(self, source: Path, key: str) -> None:
        """Store a file; readers see the old one or the new one."""
        with source.open("rb") as stream:
            self._write(key, stream)

    def write(self, key: str, content: bytes) -> None:
        """`put` from memory."""
        self._write(key, io.BytesIO(content))

    def _write(self, key: str, stream: BinaryIO) -> None:
        """In a thread of its own: pyarrow completes a stream that an exception ends, and Ctrl-C comes at any moment."""
        with ThreadPoolExecutor(1, "upload") as thread:
            thread.submit(self._upload, key, stream).result()

    def _upload(self, key: str, stream: BinaryIO) -> None:
        target = self._path(key)
        folder, _, name = target.rpartition("/")
        chunk = stream.read(COPY_BYTES)
        with self._named(key):
            if self._appears_whole:
                self._fill(target, chunk, stream)
                return
            self._fs.create_dir(folder, recursive=True)
            temporary = f"{folder}/.{name}.{uuid4().hex}"
            try:
                self._fill(temporary, chunk, stream)
                self._rename(temporary, target)
            except BaseException:
                with suppress(Exception):  # what failed first is told
                    self._fs.delete_file(temporary)
                raise

    def _fill(self, path: str, chunk: bytes, stream: BinaryIO) -> None:
        with self._fs.open_output_stream(path) as out:
            while chunk:
                out.write(chunk)
                chunk = stream.read(COPY_BYTES)

    def _rename(self, path: str, target: str) -> None:
        try:
            self._fs.move(path, target)
        except NotImplementedError:  # on Azure without a hierarchical namespace, where a copy appears whole
            self._fs.copy_file(path, target)
            self._fs.delete_file(path)

    def put_folder(self, source: Path, key: str) -> None:
        """Store a folder's files, the one that makes it complete last."""
        files = [file for file in sorted(source.rglob("*")) if file.is_file()]
        for file in sorted(files, key=lambda file: file == source / LAST):
            self.put(file, f"{key}/{file.relative_to(source).as_posix()}")

    def get(self, key: str, target: Path) -> None:
        """Fetch a file. Raises FileNotFoundError if there is none."""
        try:
            with target.open("wb") as out:
                self._copy(key, out)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def read(self, key: str) -> bytes | None:
        """Content of a file; None if there is none."""
        content = io.BytesIO()
        try:
            self._copy(key, content)
        except FileNotFoundError:
            return None
        return content.getvalue()

    def _copy(self, key: str, out: BinaryIO) -> None:
        for _ in range(READS):
            out.seek(0)
            out.truncate()
            if self._is_copied(key, out):
                return
        reason = f"the storage failed: replaced {READS} times while it was read"
        raise OSError(errno.EIO, reason, self.location.child(key).shown)

    def _is_copied(self, key: str, out: BinaryIO) -> bool:
        """Copy, and tell whether nobody replaced the file meanwhile.

        Pyarrow asks for an object's size first, and then for some megabytes at a time of what stands there.
        """
        with self._named(key):
            stream = self._fs.open_input_stream(self._path(key))
            version = _version(stream)
        try:
            with stream:
                while chunk := self._chunk(key, stream):
                    out.write(chunk)
        except OSError:  # also if the new one is shorter
            if self._is_now(key, version):
                raise
        return self._is_now(key, version)

    def _chunk(self, key: str, stream: Any) -> bytes:  # noqa: ANN401 (pyarrow has no types)
        with self._named(key):
            return bytes(stream.read(COPY_BYTES))

    def _is_now(self, key: str, version: bytes | None) -> bool:
        if version is None:
            return True
        with self._named(key), self._fs.open_input_stream(self._path(key)) as stream:
            return _version(stream) == version

    def get_folder(self, key: str, target: Path) -> None:
        """Fetch all files of a folder into one that is made here."""
        for name in self.files(key):
            file = target / name
            file.parent.mkdir(parents=True, exist_ok=True)
            self.get(f"{key}/{name}", file)

    def kind(self, key: str) -> fs.FileType:
        """Whether a file, a folder, or nothing is there."""
        return self._info([key])[0].type

    def modified(self, keys: list[str]) -> list[float | None]:
        """When files were last written, in seconds since the epoch; None for those that are not there."""
        infos = self._info(keys)
        return [one.mtime.timestamp() if one.type == fs.FileType.File and one.mtime else None for one in infos]

    def _info(self, keys: list[str]) -> list[Any]:
        with self._named(keys[0] if keys else ""):
            found: list[Any] = self._fs.get_file_info([self._path(key) for key in keys])
            return found

    def names(self, key: str) -> list[str]:
        """What a folder holds, sorted; files and folders. Nothing if there is no such folder."""
        return sorted(name for name, _ in self._below(key, recursive=False))

    def folders(self, key: str) -> list[str]:
        """The folders among them."""
        return sorted(name for name, one in self._below(key, recursive=False) if one.type == fs.FileType.Directory)

    def files(self, key: str) -> dict[str, int]:
        """Sizes in bytes of all files below a folder, by path relative to it."""
        return {name: one.size for name, one in self._below(key, recursive=True) if one.type == fs.FileType.File}

    def size(self, key: str) -> int:
        """Bytes of a file, or of all files below a folder; 0 if nothing is there."""
        info = self._info([key])[0]
        return int(info.size) if info.type == fs.FileType.File else sum(self.files(key).values())

    def _below(self, key: str, *, recursive: bool) -> Iterator[tuple[str, Any]]:
        """Relative paths, without those that no folder here can have: to an object store .. is a name as any other."""
        base = self._path(key)
        with self._named(key):
            try:
                found = self._fs.get_file_info(fs.FileSelector(base, allow_not_found=True, recursive=recursive))
            except NotADirectoryError:
                return
        for one in found:
            name = one.path.lstrip("/")[len(base.lstrip("/")) + 1 :]
            if not {"", ".", ".."} & set(name.split("/")):
                yield name, one

    def lacks_bucket(self) -> bool:
        """Whether an object store has no such bucket; False where it does not say."""
        if not self._appears_whole:
            return False
        try:
            bucket = self._fs.get_file_info(self._root.lstrip("/").partition("/")[0])
        except OSError:  # one may be allowed to read files and not to look at the bucket
            return False
        return bool(bucket.type == fs.FileType.NotFound)

    def delete(self, key: str) -> None:
        """Remove a file, or a folder beginning with the file that makes it complete. Nothing there is no error."""
        kind = self.kind(key)
        with self._named(key):
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
    def _named(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # what fsspec opens has its own kinds of errors
            if isinstance(error, OSError) and error.errno == errno.EIO and error.filename is not None:
                raise  # named already
            reason = f"the storage failed: {_reason(error, self.location)}"
            raise OSError(errno.EIO, reason, self.location.child(key).shown) from error


def _filesystem(location: Location) -> tuple[fs.FileSystem, str]:
    """Pyarrow's own file systems first, then fsspec's, as Ray does."""
    try:
        filesystem, root = fs.FileSystem.from_uri(location.uri)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise RunError(f"{location.shown}: {_reason(error, location)}") from None
        return _fsspec(location)
    except (OSError, pa.ArrowException, ImportError) as error:
        raise RunError(f"{location.shown}: cannot be reached: {_reason(error, location)}") from None
    return filesystem, root


def _fsspec(location: Location) -> tuple[fs.FileSystem, str]:
    scheme, _, rest = location.uri.partition("://")
    place, slash, path = rest.partition("/")
    if set("*?[") & set(unquote(path)):
        raise RunError(f"{location.shown}: fsspec takes *, ? and [ in a path for patterns; name the folder without")
    try:
        filesystem, root = fsspec.core.url_to_fs(f"{scheme}://{place}{slash}{unquote(path)}")  # it knows no %XX
    except (ValueError, ImportError) as error:
        raise RunError(
            f"{location.shown}: {_reason(error, location)}; pyarrow knows s3, gs, abfs, hdfs and file, others need "
            "their fsspec package"
        ) from None
    except Exception as error:  # a foreign package's own kinds of error, at the door
        raise RunError(f"{location.shown}: cannot be reached: {_reason(error, location)}") from None
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), root


def _version(stream: Any) -> bytes | None:  # noqa: ANN401
    """What tells an object's contents apart; None for a file, of which an open stream reads one as it was."""
    found: bytes | None = (stream.metadata() or {}).get("ETag")
    return found


def _reason(error: Exception, location: Location) -> str:
    return location.without_secrets((str(error).splitlines() or [type(error).__name__])[0])
