"""What a worker of the pool does: parts in, their vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from selector.arrays import Float32Array
from sweep.embed.model import GROUP, EmbeddingModel, ModelMemoryError
from sweep.embed.parts import Part, PartVectors
from sweep.items import ImageError, ItemTable
from sweep.settings.embed import Inputs
from sweep.vlm.checkpoint import ModelError
from sweep.vlm.engine.pixels import UnfitImageError
from sweep.vlm.work import Failure, FailureKind, WorkItem


@dataclass(frozen=True)
class EmbedTable:
    """What the numbers of work items are about: `WorkItem.query` is the place of a part."""

    items: ItemTable
    parts: Sequence[Part]


class Embedder:
    """An `Answerer` of the pool."""

    def __init__(self, model: EmbeddingModel, threads: int) -> None:
        """`threads` decode images."""
        self._model = model
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="images")

    def answer(
        self, table: EmbedTable, items: Sequence[WorkItem], score: bool = False
    ) -> Sequence[PartVectors | Failure]:
        """The vectors of some parts. Each image of a part is decoded once.

        Raises:
            ModelError: the model gives values that are not finite.
        """
        return [self._part(table.items, table.parts[item.query]) for item in items]

    def _part(self, table: ItemTable, part: Part) -> PartVectors | Failure:
        try:
            if part.kind is Inputs.QUESTION:
                texts = [table.question(item) for item in part.items]
                vectors = np.concatenate([self._model.questions(group) for group in _groups(texts)])
                return PartVectors(_finite(vectors, part))
            return self._images(table, part)
        except ModelMemoryError:
            return Failure(FailureKind.MEMORY, f"one {part.kind} does not fit into the device's memory even alone")

    def _images(self, table: ItemTable, part: Part) -> PartVectors | Failure:
        def read(item: int) -> Any:  # noqa: ANN401 (what the model reads)
            try:
                return self._model.read_image(table.image_bytes(item))
            except (UnfitImageError, ImageError) as error:
                return error

        failed: dict[int, str] = {}
        whole: list[int] = []
        rows: list[Float32Array] = []
        group: list[Any] = []
        for place, image in enumerate(self._threads.map(read, part.items)):
            if isinstance(image, ImageError):  # it was there when its hash was taken, and may be there again
                return Failure(FailureKind.MISSING, image.reason, image.label)
            if isinstance(image, UnfitImageError):
                failed[place] = f"{table.image_label(part.items[place])}: {image}"
            else:
                whole.append(place)
                group.append(image)
            if len(group) == GROUP or (group and place == len(part.items) - 1):
                rows.append(self._model.images(group))
                group = []
        vectors = np.zeros((len(part.items), rows[0].shape[1] if rows else 0), dtype=np.float32)
        if whole:
            vectors[whole] = _finite(np.concatenate(rows), part)
        return PartVectors(vectors, failed)


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + GROUP] for start in range(0, len(texts), GROUP))


def _finite(vectors: Float32Array, part: Part) -> Float32Array:
    if not np.isfinite(vectors).all():
        row = int((~np.isfinite(vectors)).any(axis=1).argmax())
        raise ModelError(
            f"the embedding model gives values that are not finite (the {part.kind} of item {part.items[row]}); "
            "choose another embed.model.precision"
        )
    return vectors
