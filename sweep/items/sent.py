"""Images that travel: packed into chunks, which are fetched from wherever they were put when one of them is needed.

For machines that have no image files. This module knows no way of travelling. It is given two functions, one that puts
a chunk somewhere and one that fetches it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa

from selector.arrays import Int64Array
from selector.hashes import content_hash
from sweep.items.errors import ImageError
from sweep.items.images import Images
from sweep.items.table import ItemTable

CHUNK_BYTES = 16 * 2**20
CACHED_CHUNKS = 16
NOWHERE = -1


class SentImages:
    """The images of another `Images`, in chunks. Where they were packed, they are still read at their place.

    Args:
        images: where they come from. It gives their names everywhere.
        chunks: what `fetch` takes, each for one chunk.
        places_M2: int64 [M, 2], chunk and row of each of M items, `NOWHERE` for an item without an image.
        reasons: why items have none.
        fetch: gives a chunk, binary [rows]. Goes along to other machines.
    """

    def __init__(
        self,
        images: Images,
        chunks: tuple[Any, ...],
        places_M2: Int64Array,
        reasons: dict[int, str],
        fetch: Callable[[Any], pa.Array],
    ) -> None:
        self._images = images
        self._chunks = chunks
        self._places_M2 = places_M2
        self._reasons = reasons
        self._fetch = fetch
        self._forget(here=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_cached", "_hashes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget(here=False)

    def _forget(self, *, here: bool) -> None:
        self._here = here
        self._lock = Lock()
        self._cached: OrderedDict[int, pa.Array] = OrderedDict()
        self._hashes: dict[int, str] = {}

    def label(self, item: int) -> str:
        """Where the image was before it travelled."""
        return self._images.label(item)

    def read(self, item: int) -> bytes:
        """The image's bytes. Raises ImageError where it could not be packed."""
        if self._here:
            return self._images.read(item)
        chunk, row = (int(place) for place in self._places_M2[item])
        if chunk == NOWHERE:
            raise ImageError(self.label(item), self._reasons[item])
        content: bytes = self._chunk(chunk)[row].as_py()
        return content

    def hash(self, item: int) -> str:
        """SHA-256 of the bytes, computed once. Raises as `read`."""
        if self._here:
            return self._images.hash(item)
        if item not in self._hashes:
            self._hashes[item] = content_hash([self.read(item)])
        return self._hashes[item]

    def missing(self) -> int:
        """Items without an image."""
        return self._images.missing() if self._here else len(self._reasons)

    def _chunk(self, number: int) -> pa.Array:
        with self._lock:
            if number not in self._cached:
                self._cached[number] = self._fetch(self._chunks[number])
            self._cached.move_to_end(number)
            while len(self._cached) > CACHED_CHUNKS:
                self._cached.popitem(last=False)
            return self._cached[number]


def pack(
    table: ItemTable, put: Callable[[pa.Array], Any], fetch: Callable[[Any], pa.Array], most: int | None
) -> ItemTable | None:
    """Read all images once and put them somewhere in chunks. Items with one label share an image.

    Args:
        table: whose images travel.
        put: takes a chunk, and gives what `fetch` finds it by.
        fetch: as in `SentImages`.
        most: bytes. None: however many there are.

    Returns:
        None if they have more bytes than `most`.
    """
    places_M2 = np.full((len(table), 2), NOWHERE, dtype=np.int64)
    known: dict[str, Int64Array] = {}
    reasons: dict[int, str] = {}
    chunks: list[Any] = []
    rows: list[bytes] = []
    total = held = 0
    for item in range(len(table)):
        label = table.image_label(item)
        if label in known:
            places_M2[item] = known[label]
            continue
        try:
            content = table.image_bytes(item)
        except ImageError as error:
            reasons[item] = error.reason
            continue
        if rows and held + len(content) > CHUNK_BYTES:
            chunks.append(put(pa.array(rows, pa.binary())))
            rows, held = [], 0
        places_M2[item] = known[label] = np.array([len(chunks), len(rows)])
        rows.append(content)
        held, total = held + len(content), total + len(content)
        if most is not None and total > most:
            return None
    if rows:
        chunks.append(put(pa.array(rows, pa.binary())))
    return table.with_images(lambda images: SentImages(images, tuple(chunks), places_M2, reasons, fetch))
