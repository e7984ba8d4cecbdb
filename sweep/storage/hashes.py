"""TODO-DOC"""

from __future__ import annotations

import hashlib
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any


def file_hash(file: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_hash(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    """SHA-256 of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


_hashes: dict[tuple[str, int, int], str] = {}  # by path, size and time of change; weights are gigabytes


def _content_hash(file: Path) -> str:
    status = file.stat()
    key = (os.fspath(file.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _hashes:
        digest = sha256()
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                digest.update(block)
        _hashes[key] = digest.hexdigest()
    return _hashes[key]


def _digest(value: Any) -> str:  # noqa: ANN401 - anything JSON holds
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
