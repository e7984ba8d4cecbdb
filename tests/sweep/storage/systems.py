"""File systems to keep files on: of this machine, in memory with a record of what is done, and S3 without patience."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from sweep.storage.location import Location
from sweep.storage.remote_files import RemoteFiles


def local_store(root: Path) -> RemoteFiles:
    """A store on this machine: no object store, so files are written aside and moved."""
    root.mkdir(exist_ok=True)
    return RemoteFiles(Location.of(f"local://elsewhere{root}"), fs.LocalFileSystem(), str(root))


def impatient(uri: str) -> RemoteFiles:
    """Gives up at the first failure; what `open` makes tries for some seconds, or minutes if nothing answers."""
    location = Location.of(uri)
    system = fs.S3FileSystem(
        endpoint_override=os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"),
        scheme="http",
        connect_timeout=1,
        request_timeout=1,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )
    return RemoteFiles(location, system, location.folder.partition("://")[2].partition("@")[2] or location.folder[5:])


class Recorder(fs.FSSpecHandler):
    """Notes what is done to files, in order; can lack `move`, as Azure does, and fail where it is told to."""

    def __init__(self, *, moves: bool = True) -> None:
        super().__init__(MemoryFileSystem(skip_instance_cache=True))
        self.fs.store, self.fs.pseudo_dirs = {}, [""]
        self.done: list[tuple[str, str]] = []
        self.moves = moves
        self.fails: set[str] = set()

    def _note(self, what: str, path: str) -> None:
        self.done.append((what, path.removeprefix("/root/")))
        if what in self.fails:
            raise LookupError(f"no more {what}\nand much more about it")

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self._note("write", path)
        return super().open_output_stream(path, metadata)

    def move(self, src: str, dest: str) -> None:
        if not self.moves:
            raise NotImplementedError("no hierarchical namespace")
        self._note("move", dest)
        super().move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        self._note("copy", dest)
        super().copy_file(src, dest)

    def delete_file(self, path: str) -> None:
        self._note("delete", path)
        super().delete_file(path)

    def delete_dir(self, path: str) -> None:
        self._note("delete folder", path)
        super().delete_dir(path)


def recorded(handler: Recorder) -> RemoteFiles:
    return RemoteFiles(Location.of("memory://root"), fs.PyFileSystem(handler), "/root")
