"""The name of a collection: a digest of all that can change it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selector.arrays import Float32Array
from selector.data.json_text import check_file
from selector.data.place import Place, file_label
from selector.hashes import array_parts, content_hash
from selector.model import CONFIG_FILE, WEIGHTS_FILE
from sweep.settings.collect import CollectSettings, PoolBy
from sweep.settings.vlm import VlmSettings
from sweep.storage.hashes import canonical_hash, file_hash
from sweep.vqa.cleanup import CLEANUP_VERSION

_TABLES = {"embeddings", "image_embeddings", "question_embeddings"}  # each counts by its content
VERSION = 1  # raised when beams are proposed, or answers become outcomes, by other rules


def collect_digest(
    settings: CollectSettings,
    items: str,
    embeddings: str,
    vlm: VlmSettings,
    model: str,
    separate: Mapping[PoolBy, str] | None = None,
) -> str:
    """All that can change a collection, as 64 hex digits.

    Files count by what is in them, not by their names. What changes speed and memory only (batching, workers)
    and where the model lies is not part of it.

    Args:
        settings: which beams, and their metric.
        items: fingerprint of the item table.
        embeddings: `embeddings_hash` of the embeddings.
        vlm: how the model is asked.
        model: identity of the model's weights and processor.
        separate: the same hash of the embeddings of images or questions alone, as far as the pools need them.

    Raises:
        DataError: a file that the settings name is missing or cannot be read.
    """
    beams: dict[str, Any] = settings.model_dump(mode="json", exclude={"queries", "selector", *_TABLES})
    # As before there were any: the same collection keeps its name.
    for name in ("held_out_beams", "rounds", "budget"):
        if beams[name] is None:
            del beams[name]
    if settings.build.pool.shares is None:
        del beams["build"]["pool"]["shares"]
    if separate:
        beams["separate"] = {kind.value: found for kind, found in separate.items()}
    if settings.queries is not None:
        beams["queries"] = _hash_of(settings.queries)
    if settings.selector is not None:
        beams["selector"] = [_hash_of(settings.selector / name) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    return canonical_hash([VERSION, CLEANUP_VERSION, beams, items, embeddings, _asked(vlm), model])


def outcome_digest(settings: CollectSettings, items: str, embeddings: str, vlm: VlmSettings, model: str) -> str:
    """All that can change the outcome of one beam, as 64 hex digits. Two collections of one digest can be joined.

    The arguments are those of `collect_digest`.
    """
    scored = settings.model_dump(mode="json", include={"picks", "metric", "gt_prob"})
    return canonical_hash([VERSION, CLEANUP_VERSION, scored, items, embeddings, _asked(vlm), model])


def _asked(vlm: VlmSettings) -> dict[str, Any]:
    return {
        **vlm.model_dump(mode="json", include={"prompt", "images", "decoding"}),
        "precision": vlm.model.precision.value,
    }


def embeddings_hash(embeddings: Float32Array) -> str:
    """SHA-256 of float32 [M, D], 64 hex digits."""
    return content_hash(array_parts(embeddings))


def _hash_of(file: Path) -> str:
    check_file(file)
    try:
        return file_hash(file)
    except OSError as error:
        raise Place(file_label(file)).error(f"cannot be read ({error.strerror or type(error).__name__})") from None
