"""Sending images to the nodes of a cluster through Ray's object store, which carries each chunk to a node once."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sweep.items import ItemTable
from sweep.items.sent import pack


def send_images(table: ItemTable, most: int | None) -> ItemTable | None:
    """The same items, whose images any worker can read. They are there as long as this process has the table.

    Args:
        table: whose images are read now, all of them.
        most: bytes. None: however many there are.

    Returns:
        None if they have more bytes than `most`.
    """
    import ray

    return pack(table, ray.put, _fetch, most)


def _fetch(chunk: Any) -> pa.Array:  # noqa: ANN401 (Ray is untyped)
    import ray

    return ray.get(chunk)
