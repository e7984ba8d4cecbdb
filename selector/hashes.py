"""SHA-256 of contents. Every hash that is stored is made here or, for files and JSON, in `sweep.storage.hashes`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt


def content_hash(parts: Iterable[bytes | memoryview]) -> str:
    """SHA-256 of all parts in a row, 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def array_parts(array: npt.NDArray[Any]) -> Iterator[bytes | memoryview]:
    """What is hashed of an array: element type and shape as text, then its values."""
    yield f"{array.dtype.str}:{array.shape};".encode()
    yield np.ascontiguousarray(array).data
