"""SHA-256 of files and of JSON values. They name artifacts and stored answers, so their values never change."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any


def file_hash(file: Path) -> str:
    """SHA-256 of a file, 64 hex digits. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def remembered_file_hash(file: Path) -> str:
    """`file_hash`, computed once per process as long as size and time of change stay: weights are gigabytes."""
    status = file.stat()
    return _hash_of_version(file.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1024)
def _hash_of_version(file: Path, size: int, changed: int) -> str:
    return file_hash(file)


def canonical_hash(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    """SHA-256 of a JSON value, independent of key order, 64 hex digits. Raises ValueError for NaN and infinity."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()
