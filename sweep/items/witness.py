"""Whether another machine has the same images: what one machine read of some, and what another one finds there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sweep.items.errors import ImageError
from sweep.items.table import ItemTable

SAMPLE = 64
"""Images that are read. Of all others it is only looked whether their files are there."""


@dataclass(frozen=True)
class ImageWitness:
    """What a machine has of a table's images.

    Attributes:
        missing: items without an image.
        hashes: SHA-256 of some images by item. None where it could not be read.
    """

    missing: int
    hashes: dict[int, str | None]


def witness(table: ItemTable) -> ImageWitness:
    """What this machine has. Reads `SAMPLE` images, spread evenly over the table."""
    spread = np.linspace(0, len(table) - 1, min(SAMPLE, len(table))).astype(int)
    return ImageWitness(table.images_missing(), {int(item): _hash(table, int(item)) for item in spread})


def difference(table: ItemTable, seen: ImageWitness) -> str | None:
    """What this machine lacks, or has otherwise than the one that `seen` is of. None where both have the same."""
    for item, expected in seen.hashes.items():
        if expected is None:
            continue
        try:
            found = table.image_hash(item)
        except ImageError as error:
            return str(error)
        if found != expected:
            return f"{table.image_label(item)}: another image than the driver's"
    missing = table.images_missing()
    return (
        f"images of {missing} items are missing, {seen.missing} on the driver's machine"
        if missing > seen.missing
        else None
    )


def _hash(table: ItemTable, item: int) -> str | None:
    try:
        return table.image_hash(item)
    except ImageError:
        return None
