"""What is to be embedded, in parts that are computed and stored one by one.

Every different image and every different question is embedded once. They are taken in the order in which the items
show them, `PART` at a time. So a part is the same however often the work is interrupted, and whoever computes it. More
items at the end leave all parts but the last one as they were.

A part's file is named by all that its vectors depend on. What is stored under a name is never computed again.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from selector.arrays import Float32Array, Int64Array
from selector.hashes import array_parts, content_hash
from sweep.items import ImageError, ItemTable
from sweep.settings.embed import Inputs
from sweep.storage.hashes import canonical_hash
from sweep.storage.path import StoredPath

VERSION = 2
"""Raised when a model may give other bits for the same input: groups, decoding, padding."""
PART = 64
"""Inputs of a part: a few seconds of a large model on one core."""
_HASHING = 8  # threads that read images to hash them; they mostly wait for the disk


@dataclass(frozen=True, slots=True)
class Part:
    """Some different inputs of one kind.

    Attributes:
        kind: image or question.
        items: an item id for each input, the first that shows it.
        key: all that its vectors depend on, 64 hex digits.
    """

    kind: Inputs
    items: tuple[int, ...]
    key: str


@dataclass(frozen=True, slots=True)
class PartVectors:
    """Embeddings of a part's inputs, float32 [inputs, D].

    Attributes:
        vectors: zeros where the input failed.
        failed: why an input has none, by its place in the part.
    """

    vectors: Float32Array
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Inventory:
    """All different inputs of one kind.

    Attributes:
        parts: in the order of their inputs.
        rows_M: int64 [M], which input each item shows. -1: its image cannot be had.
        missing: why, by item.
    """

    parts: list[Part]
    rows_M: Int64Array
    missing: dict[int, str]


def inventory(kind: Inputs, table: ItemTable, model: dict[str, Any]) -> Inventory:
    """What is to be embedded of all items.

    Args:
        kind: image or question.
        table: the items. All images are read, to be hashed.
        model: what names the model and how it is asked, as JSON values.
    """
    contents = _image_hashes(table) if kind is Inputs.IMAGE else [table.question(item) for item in range(len(table))]
    rows: dict[str, int] = {}
    first: list[int] = []
    missing: dict[int, str] = {}
    rows_M = np.full(len(table), -1, dtype=np.int64)
    for item, content in enumerate(contents):
        if isinstance(content, ImageError):
            missing[item] = str(content)
            continue
        if content not in rows:
            rows[content] = len(first)
            first.append(item)
        rows_M[item] = rows[content]
    names = list(rows)
    parts = [
        Part(
            kind,
            tuple(first[start : start + PART]),
            canonical_hash([VERSION, kind.value, model, names[start : start + PART]]),
        )
        for start in range(0, len(first), PART)
    ]
    return Inventory(parts, rows_M, missing)


def _image_hashes(table: ItemTable) -> list[str | ImageError]:
    def one(item: int) -> str | ImageError:
        try:
            return table.image_hash(item)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(_HASHING, thread_name_prefix="hashes") as pool:
        return list(pool.map(one, range(len(table))))


class PartStore:
    """Parts that were computed, one file each, in a folder that runs share."""

    def __init__(self, folder: StoredPath) -> None:
        self._folder = folder

    def names(self) -> set[str]:
        """Keys of all parts that are there."""
        return {file.name.removesuffix(".safetensors") for file in self._folder.glob("*.safetensors")}

    def put(self, key: str, part: PartVectors) -> None:
        """Store a part, whole or not at all."""
        self._file(key).write_bytes(_bytes_of(part))

    def get(self, key: str, inputs: int) -> PartVectors | None:
        """A part with so many inputs. None if it is missing or damaged: then it is computed again."""
        try:
            return _part_of(self._file(key).read_bytes(), inputs)
        except FileNotFoundError:
            return None

    def _file(self, key: str) -> StoredPath:
        return self._folder / f"{key}.safetensors"


def _bytes_of(part: PartVectors) -> bytes:
    failed = json.dumps({str(place): reason for place, reason in part.failed.items()}).encode()
    arrays: dict[str, np.ndarray[Any, Any]] = {"vectors": part.vectors, "failed": np.frombuffer(failed, dtype=np.uint8)}
    digest = np.frombuffer(bytes.fromhex(_digest(arrays)), dtype=np.uint8)
    content: bytes = save({**arrays, "sha256": digest})
    return content


def _part_of(content: bytes, inputs: int) -> PartVectors | None:
    try:
        arrays = load(content)
        digest = arrays.pop("sha256").tobytes().hex()
        vectors, failed = arrays["vectors"], arrays["failed"]
    except (SafetensorError, KeyError, ValueError):
        return None
    if digest != _digest({"vectors": vectors, "failed": failed}) or len(vectors) != inputs:
        return None
    return PartVectors(vectors, {int(place): reason for place, reason in json.loads(failed.tobytes()).items()})


def _digest(arrays: dict[str, np.ndarray[Any, Any]]) -> str:
    return content_hash(piece for name in ("vectors", "failed") for piece in array_parts(arrays[name]))
