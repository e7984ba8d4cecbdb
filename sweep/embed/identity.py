"""What embeddings depend on, as the name under which they are found again."""

from __future__ import annotations

from typing import Any

from sweep.embed.model import embedding_checkpoint
from sweep.embed.parts import VERSION
from sweep.settings.embed import VISION_TOWER, EmbedSettings
from sweep.settings.vlm import ImageSettings, VlmSettings
from sweep.storage.hashes import canonical_hash
from sweep.vlm.checkpoint import resolve_precision
from sweep.vlm.keys import model_identity


def device_of(settings: EmbedSettings) -> str:
    """The kind of device that the workers have, `cpu` or `cuda`."""
    return "cuda" if settings.workers.gpus else "cpu"


def limits_of(vlm: VlmSettings | None) -> ImageSettings:
    """The limits on images: those of section `vlm`, or the defaults."""
    return ImageSettings() if vlm is None else vlm.images


def vector_settings(settings: EmbedSettings, vlm: VlmSettings | None) -> dict[str, Any]:
    """All that the vector of one image or one question depends on besides its content, as JSON values.

    Raises:
        ModelError: no such checkpoint.
    """
    checkpoint, device = embedding_checkpoint(settings, vlm), device_of(settings)
    limits = limits_of(vlm)
    tower = settings.model.path == VISION_TOWER
    return {
        "model": model_identity(checkpoint),
        "tower": tower,
        "precision": resolve_precision(checkpoint.precision, device).value,
        "device": device,
        "images": [limits.min_pixels, limits.max_pixels, limits.max_side] if tower else [limits.max_side],
    }


def combination(settings: EmbedSettings) -> dict[str, Any]:
    """How vectors become embeddings, as JSON values."""
    return settings.model_dump(mode="json", include={"inputs", "combine", "image_weight", "normalise"})


def embed_digest(settings: EmbedSettings, vlm: VlmSettings | None, items: str) -> str:
    """The name of the embeddings of a table of items, 64 hex digits. `items` is the table's fingerprint.

    Images count by their ids, as in the table's fingerprint: their bytes are read only when something is embedded.
    What changes speed and memory only, and where the model lies, is not part of it.
    """
    return canonical_hash([VERSION, vector_settings(settings, vlm), combination(settings), items])
