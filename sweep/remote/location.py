"""Addresses of folders: a path of this machine, or the URI of a folder on another file system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from sweep.errors import RunError

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Location:
    """A folder on another file system.

    Attributes:
        folder: scheme, host and path, without a slash at the end.
        query: options of the file system, such as `endpoint_override=127.0.0.1:9000&scheme=http`; may be empty.
    """

    folder: str
    query: str = ""

    @classmethod
    def of(cls, uri: str) -> Location:
        """Parse a URI. Raises RunError if it names no folder of a file system."""
        parts = urlsplit(uri)
        if not parts.netloc and not parts.path.strip("/"):
            raise RunError(f"{uri!r} names no folder; write scheme://place/folder, such as s3://bucket/runs")
        if parts.fragment:
            raise RunError(f"{uri!r}: a folder's URI cannot have a part after #")
        path = re.sub(r"/+", "/", parts.path).rstrip("/")
        if ".." in path.split("/"):
            raise RunError(f"{uri!r}: write the folder without ..")
        return cls(urlunsplit((parts.scheme, parts.netloc, path, "", "")), parts.query)

    @property
    def uri(self) -> str:
        """The whole address, with what it may say of keys."""
        return f"{self.folder}?{self.query}" if self.query else self.folder

    @property
    def shown(self) -> str:
        """The address for people: without keys and passwords."""
        bare = re.sub(r"(?<=://)[^/@]*@", "***@", self.folder)
        query = re.sub(r"((?:^|&)[^=&]*(?:key|secret|token|password)[^=&]*=)[^&]*", r"\1***", self.query, flags=re.I)
        return f"{bare}?{query}" if query else bare

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root of a bucket or host."""
        return urlsplit(self.folder).path.rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder above. Raises RunError at the root of a bucket or host."""
        if not self.name:
            raise RunError(f"{self.shown} is not a run's folder; name the folder in it, such as {self.folder}/grpo-1")
        return Location(self.folder[: -len(self.name) - 1], self.query)

    def child(self, key: str) -> Location:
        """A file or folder below this one."""
        return Location(f"{self.folder}/{key}" if key not in ("", ".") else self.folder, self.query)


def is_uri(text: str) -> bool:
    """Whether an address names its file system; `s3://bucket/runs` does, `runs` does not."""
    return _URI.match(text) is not None


def local_folder(text: str | Path) -> Path:
    """A folder of this machine. Raises RunError for a URI of elsewhere."""
    path = path_of(text) if isinstance(text, str) else text
    if path is None:
        raise RunError(f"{text}: results are written to a folder of this machine; name a path")
    return path


def path_of(text: str) -> Path | None:
    """The path that an address stands for if that is one of this machine; None for a URI of elsewhere."""
    if not is_uri(text):
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme.lower() == "file":
        if parts.netloc not in ("", "localhost"):
            raise RunError(f"{text!r}: a file URI has three slashes, such as file:///data/runs")
        return Path(unquote(parts.path))
    return None
