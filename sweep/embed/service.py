"""Embedding all items of a table: what is known already is read, the rest is computed and stored."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from rich.console import Console

from selector.arrays import Float32Array
from sweep.embed.identity import combination, vector_settings
from sweep.embed.model import embedding_checkpoint
from sweep.embed.parts import Inventory, Part, PartStore, PartVectors, inventory
from sweep.embed.store import MANIFEST, EmbeddingManifest, Vectors, write_tables
from sweep.errors import RunError
from sweep.items import ItemTable
from sweep.settings.embed import EmbedSettings, Inputs
from sweep.settings.vlm import VlmSettings
from sweep.storage.path import StoredPath, json_text
from sweep.vlm.failure_limit import JUDGED_FROM
from sweep.vlm.work import Failure

NAMED = 3
"""Images that cannot be read, named in a message."""


@dataclass(frozen=True)
class Embedding:
    """What is to be embedded, by what, and where it goes.

    Attributes:
        settings: the section `embed`.
        vlm: the section `vlm`, if the space has one.
        items: the items.
        parts: where parts are kept for whoever needs them again.
    """

    settings: EmbedSettings
    vlm: VlmSettings | None
    items: ItemTable
    parts: StoredPath


PartRun = Callable[[Sequence[Part]], Generator[tuple[Part, PartVectors | Failure], None, None]]
"""Computes parts: every one yields its vectors or one failure, in any order."""


def embed_items(work: Embedding, folder: StoredPath, console: Console, run: PartRun) -> EmbeddingManifest:
    """Embed all items. A call that was interrupted goes on: parts that were stored are not computed again.

    Args:
        work: what is to be embedded.
        folder: missing or empty; complete when this returns.
        console: told what was done in the end.
        run: called with the parts that are not stored yet, unless there are none.

    Raises:
        RunError: too many items lack their image, or a part cannot be computed.
    """
    described = vector_settings(work.settings, work.vlm)
    if Inputs.IMAGE in work.settings.inputs.parts:
        console.print("reading the images, to know which are the same", highlight=False)
    found = {kind: inventory(kind, work.items, described) for kind in work.settings.inputs.parts}
    for inputs in found.values():
        _check_missing(work, inputs.missing)
    done = _computed(work, [part for inputs in found.values() for part in inputs.parts], run)
    vectors: dict[Inputs, Vectors] = {}
    unfit: dict[int, str] = {}
    for kind, inputs in found.items():
        vectors[kind], missing = _gathered(inputs, done.vectors)
        unfit |= missing
    _check_missing(work, unfit)
    model = described.pop("model")
    with folder.new_folder() as temporary:
        hashes, width = write_tables(temporary, vectors, work.settings)
        checkpoint = embedding_checkpoint(work.settings, work.vlm)
        manifest = EmbeddingManifest(
            model=model,
            path=checkpoint.path,
            made={**described, **combination(work.settings)},
            items=work.items.fingerprint(),
            rows=len(work.items),
            width=width,
            without_image=len(unfit),
            hashes=hashes,
        )
        (temporary / MANIFEST).write_text(json_text(manifest.model_dump(mode="json")), encoding="utf-8")
    _say_end(console, manifest, found, done, unfit, folder)
    return manifest


@dataclass(frozen=True)
class _Done:
    """Vectors of all parts by key, and how many inputs were computed now."""

    vectors: dict[str, PartVectors]
    computed: int


def _computed(work: Embedding, parts: Sequence[Part], run: PartRun) -> _Done:
    store = PartStore(work.parts)
    there = store.names()
    known = {part.key: store.get(part.key, len(part.items)) for part in parts if part.key in there}
    vectors = {key: found for key, found in known.items() if found is not None}
    missing = [part for part in parts if part.key not in vectors]
    if missing:
        with closing(run(missing)) as results:
            for part, result in results:
                if isinstance(result, Failure):
                    raise RunError(_failure(part, result))
                store.put(part.key, result)
                vectors[part.key] = result
    return _Done(vectors, inputs_of(missing))


def inputs_of(parts: Iterable[Part]) -> int:
    """How many images and questions they are."""
    return sum(len(part.items) for part in parts)


def _failure(part: Part, failure: Failure) -> str:
    where = f"{failure.label}: " if failure.label else ""
    return (
        f"embed: a part of {len(part.items)} {part.kind}s (from item {part.items[0]} on) has no embeddings: "
        f"{where}{failure.reason}; what is done is stored, so mend this and give the same command again"
    )


def _gathered(inputs: Inventory, vectors: dict[str, PartVectors]) -> tuple[Vectors, dict[int, str]]:
    """The vectors of all inputs in a row, and why items have none."""
    parts = [vectors[part.key] for part in inputs.parts]
    width = max((part.vectors.shape[1] for part in parts), default=0)
    distinct: Float32Array = np.zeros((sum(len(part.vectors) for part in parts), width), dtype=np.float32)
    reasons: dict[int, str] = {}
    at = 0
    for part in parts:
        if part.vectors.shape[1]:
            distinct[at : at + len(part.vectors)] = part.vectors
        reasons |= {at + place: reason for place, reason in part.failed.items()}
        at += len(part.vectors)
    rows_M = inputs.rows_M.copy()
    rows_M[np.isin(rows_M, list(reasons))] = -1
    missing = {item: reasons[row] for item, row in enumerate(inputs.rows_M.tolist()) if row in reasons}
    return Vectors(distinct, rows_M), inputs.missing | missing


def _check_missing(work: Embedding, missing: dict[int, str]) -> None:
    """Refuse to go on where so many items lack their image that something is wrong with all of them."""
    total, limit = len(work.items), work.settings.failure_limit
    if len(missing) == total or (total >= JUDGED_FROM and len(missing) > limit * total):
        first = "; ".join(list(missing.values())[:NAMED])
        raise RunError(
            f"embed: {len(missing)} of {total} items have no image that can be read, more than embed.failure_limit "
            f"{limit:g} allows: {first}"
        )


def _say_end(
    console: Console,
    manifest: EmbeddingManifest,
    found: dict[Inputs, Inventory],
    done: _Done,
    unfit: dict[int, str],
    folder: StoredPath,
) -> None:
    counts = ", ".join(f"{inputs_of(one.parts)} {kind}s" for kind, one in found.items())
    known = sum(inputs_of(one.parts) for one in found.values()) - done.computed
    lines = [
        f"embedded {manifest.rows} items of {counts}: {done.computed} computed now, {known} known before; width "
        f"{manifest.width}, fingerprint {manifest.fingerprint[:16]}  -> {folder}"
    ]
    if unfit:
        first = "; ".join(list(unfit.values())[:NAMED])
        lines.append(f"{len(unfit)} items have no image that can be read, and a row of zeros: {first}")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
