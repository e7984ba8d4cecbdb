"""Embeddings of all items, as a folder: one `.npy` table of one row per item for each kind, and a manifest.

    embeddings.npy     float32 [items, D]: what selectors read
    image.npy          float32 [items, d]: the images alone, where image and question are both embedded
    question.npy       float32 [items, d]: the questions alone
    manifest.json      what made them, and the hash of each table. Written last: it means that the folder is complete

A row is zero in every table where the item's image cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from selector.arrays import Float32Array, Int64Array
from selector.data.embeddings import load_embeddings, unit_rows
from selector.data.json_text import read_json
from selector.data.place import Place, file_label
from selector.hashes import array_parts, content_hash
from selector.settings import FrozenModel, NonNegativeInt, PositiveInt
from sweep.settings.embed import Combine, EmbedSettings, Inputs

MANIFEST = "manifest.json"
TABLE = "embeddings"
"""The table that selectors read."""
BLOCK = 8192  # rows that are combined together


class EmbeddingManifest(FrozenModel):
    """What `manifest.json` holds.

    Attributes:
        model: identity of the checkpoint: `name@commit`, or the hash of its content.
        path: how the space named it, for people.
        made: what else the vectors depend on, as the space has it, with the device and the number format.
        items: fingerprint of the item table.
        rows: number of items.
        width: of `embeddings.npy` (D).
        without_image: items whose rows are zero.
        hashes: by table, SHA-256 of type, shape and values.
    """

    format: Literal["sweep-embeddings/1"] = "sweep-embeddings/1"
    model: str
    path: str
    made: dict[str, Any]
    items: str
    rows: NonNegativeInt
    width: PositiveInt
    without_image: NonNegativeInt
    hashes: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """The hash of the table that selectors read."""
        return self.hashes[TABLE]

    def table_of(self, kind: Inputs) -> str | None:
        """The table with the embeddings of images or questions alone. None if there is none."""
        if self.made.get("inputs") == kind.value:
            return TABLE
        return kind.value if kind.value in self.hashes else None


def is_embedded(folder: Path) -> bool:
    """Whether a folder holds a complete set of embeddings."""
    return (folder / MANIFEST).is_file() and (folder / f"{TABLE}.npy").is_file()


def read_manifest(folder: Path) -> EmbeddingManifest:
    """The manifest of a folder of embeddings. Raises DataError."""
    place = Place(file_label(folder / MANIFEST))
    try:
        return EmbeddingManifest.model_validate(place.read_object(read_json(folder / MANIFEST)))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise place.error(f"is no manifest of embeddings ({ascii(first['msg'])[1:-1]})", name) from None


def read_table(folder: Path, manifest: EmbeddingManifest, name: str = TABLE) -> Float32Array:
    """One table, float32 [items, D], known to be as it was written.

    Raises:
        DataError: missing, damaged or altered.
    """
    file = folder / f"{name}.npy"
    table = load_embeddings(file)
    if table_hash(table) != manifest.hashes.get(name):
        raise Place(file_label(file)).error(
            f"is not what {MANIFEST} says: it was altered, or cut off while it was copied; delete the folder, and it "
            "is made again"
        )
    return table


def table_hash(table: Float32Array) -> str:
    """SHA-256 of float32 [M, D], 64 hex digits. The same as a collection's name depends on."""
    return content_hash(array_parts(table))


@dataclass(frozen=True)
class Vectors:
    """The embeddings of one kind, and which of them each item has.

    Attributes:
        distinct: float32 [inputs, d], as the model gives them.
        rows_M: int64 [M]. -1: the item has none.
    """

    distinct: Float32Array
    rows_M: Int64Array


def write_tables(folder: Path, vectors: dict[Inputs, Vectors], settings: EmbedSettings) -> tuple[dict[str, str], int]:
    """Write the tables of a folder, a block of rows at a time. The manifest is the caller's.

    Args:
        folder: a new one.
        vectors: of each kind that the settings embed. Of equal width for a mean.
        settings: how they are combined.

    Returns:
        The hash of each table, by name, and the width of the combined one.
    """
    items = len(next(iter(vectors.values())).rows_M)
    both = settings.inputs is Inputs.BOTH
    widths = {kind: found.distinct.shape[1] for kind, found in vectors.items()}
    width = sum(widths.values()) if settings.combine is Combine.CONCATENATION else next(iter(widths.values()))
    files = {TABLE: width, **({str(kind): one for kind, one in widths.items()} if both else {})}
    tables = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (items, columns))
        for name, columns in files.items()
    }
    whole_M = np.all([found.rows_M >= 0 for found in vectors.values()], axis=0)
    for start in range(0, items, BLOCK):
        rows = np.flatnonzero(whole_M[start : start + BLOCK]) + start
        blocks = {kind: found.distinct[found.rows_M[rows]] for kind, found in vectors.items()}
        if settings.normalise:
            blocks = {kind: unit_rows(block) for kind, block in blocks.items()}
        for kind, block in blocks.items():
            if both:
                tables[str(kind)][rows] = block
        tables[TABLE][rows] = combined(blocks, settings)
    hashes = {name: table_hash(table) for name, table in tables.items()}
    for table in tables.values():
        table.flush()
    return hashes, width


def combined(blocks: dict[Inputs, Float32Array], settings: EmbedSettings) -> Float32Array:
    """One vector of those of image and question, float32 [B, D].

    In the mean the image counts by `image_weight`, the question by the rest. A concatenation is scaled, so that the
    cosine of two such vectors is the mean of the cosines by the same weights, if both have unit length.
    """
    if settings.inputs is not Inputs.BOTH:
        return blocks[settings.inputs]
    weights = {Inputs.IMAGE: settings.image_weight, Inputs.QUESTION: 1 - settings.image_weight}
    if settings.combine is Combine.MEAN:
        found = sum(np.float32(weights[kind]) * blocks[kind] for kind in weights)
    else:
        found = np.concatenate([np.float32(sqrt(2 * weights[kind])) * blocks[kind] for kind in weights], axis=1)
    table = np.asarray(found, dtype=np.float32)
    return unit_rows(table) if settings.normalise else table
