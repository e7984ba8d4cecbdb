"""Addresses of folders: a path of this machine, or the URI of a folder on another file system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sweep.errors import RunError

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_AS_IT_IS = "/:@!$&'()*+,;=~"  # besides letters, digits and -._ what a URI's path may hold
_SECRET_OPTION = re.compile(r"([?&](?:[^=&]*(?:key|secret|token|password|credential)[^=&]*|sig)=)[^&]*", re.I)


@dataclass(frozen=True)
class Location:
    """A folder on another file system.

    Attributes:
        folder: scheme, host and path, without a slash at the end; what a URI cannot hold is written as %XX.
        query: options of the file system, such as `endpoint_override=127.0.0.1:9000&scheme=http`; may be empty.
    """

    folder: str
    query: str = ""

    @classmethod
    def of(cls, uri: str) -> Location:
        """Parse a URI. Raises RunError if it names no folder of a file system."""
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError:
            raise RunError(f"{_masked(uri)}: not a URI; in a key or password write / as %2F, @ as %40") from None
        path = "/".join(part for part in unquote(parts.path).split("/") if part not in ("", "."))
        if not parts.netloc and not path:
            raise RunError(f"{_masked(uri)} names no folder; write scheme://place/folder, such as s3://bucket/runs")
        if parts.fragment:
            raise RunError(f"{_masked(uri)}: a folder's URI cannot have a part after #; write # as %23")
        if ".." in path.split("/"):
            raise RunError(f"{_masked(uri)}: write the folder without ..")
        if parts.scheme == "s3" and port is not None:
            raise RunError(
                f"{_masked(uri)}: s3:// is followed by a bucket; name the server with "
                "?endpoint_override=host:port&scheme=http, or AWS_ENDPOINT_URL"
            )
        root = f"{parts.scheme}://{parts.netloc}"
        return cls(f"{root}/{quote(path, safe=_AS_IT_IS)}" if path else root, parts.query)

    @property
    def uri(self) -> str:
        """The whole address, with what it may say of keys."""
        return f"{self.folder}?{self.query}" if self.query else self.folder

    @property
    def shown(self) -> str:
        """The address for people: without keys and passwords."""
        bare = re.sub(r"(?<=://)[^/@]*:[^/]*@", "***@", self.folder)
        return f"{bare}{self._shown_query}" if self.query else bare

    @property
    def _shown_query(self) -> str:
        return _SECRET_OPTION.sub(r"\1***", f"?{self.query}")

    def without_secrets(self, text: str) -> str:
        """What an error says, which may quote the address."""
        user = urlsplit(self.folder).netloc.rpartition("@")[0]
        if ":" in user:
            text = text.replace(f"{user}@", "***@")
        return text.replace(f"?{self.query}", self._shown_query) if self.query else text

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root of a bucket or host."""
        return unquote(urlsplit(self.folder).path.rpartition("/")[2])

    @property
    def parent(self) -> Location:
        """The folder above. Raises RunError at the root of a bucket or host."""
        if not self.name:
            inside = self.child("grpo-1").shown
            raise RunError(f"{self.shown} is not a run's folder; name the folder in it, such as {inside}")
        return Location(self.folder.rpartition("/")[0], self.query)

    def child(self, key: str) -> Location:
        """A file or folder below this one."""
        return self if key in ("", ".") else Location(f"{self.folder}/{quote(key, safe=_AS_IT_IS)}", self.query)


def is_uri(text: str) -> bool:
    """Whether an address names its file system; `s3://bucket/runs` does, `runs` does not."""
    return _URI.match(text) is not None


def local_folder(text: str | Path) -> Path:
    """A folder of this machine. Raises RunError for a URI of elsewhere."""
    path = path_of(text) if isinstance(text, str) else text
    if path is None:
        raise RunError(f"{_masked(str(text))}: results are written to a folder of this machine; name a path")
    return path


def path_of(text: str) -> Path | None:
    """The path that an address stands for if that is one of this machine; None for a URI of elsewhere."""
    if not is_uri(text):
        return Path(text)
    scheme, _, rest = text.partition("://")
    if scheme.lower() != "file":
        return None
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise RunError(f"{_masked(text)}: a file URI has three slashes, such as file:///data/runs")
    return Path("/" + unquote(re.split("[?#]", path)[0]))


def _masked(uri: str) -> str:
    """A URI as somebody wrote it, maybe with a slash in its password, which no parser can tell from the path."""
    return _SECRET_OPTION.sub(r"\1***", re.sub(r"(?<=://)[^/@]*:.*@", "***@", uri, flags=re.S))
