"""What embeds: a CLIP or SigLIP checkpoint, or the vision tower of the model that answers. Runs in a worker.

Equal inputs shall give equal bits, whatever is computed beside them, on whichever worker, and after any interruption.
A product of matrices has other last bits with another number of rows. With the same number they do not depend on what
the other rows hold. So CLIP and SigLIP are always given `GROUP` inputs at once, the missing ones as zeros. Images of
the VLM's own tower differ in size, so each is computed alone.

Only a device without memory for a group breaks this rule: then the group is halved, which can change last bits.

Letters: G inputs of one forward pass, D width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selector.arrays import Float32Array
from sweep.embed.loading import DualParts, check_dual, load_dual
from sweep.settings.embed import VISION_TOWER, Combine, EmbedSettings, Inputs
from sweep.settings.vlm import ImageSettings, ModelSettings, VlmSettings
from sweep.vlm.checkpoint import ModelError
from sweep.vlm.engine.devices import to_device, watching_memory
from sweep.vlm.engine.images import load_pixels, load_whole
from sweep.vlm.engine.loading import Loaded, load, resolve_device, tower_width
from sweep.vlm.engine.pixels import Pixels
from sweep.vlm.engine.tower import vision_features

GROUP = 16
"""Inputs of one forward pass. Another number gives other last bits: raise `sweep.embed.parts.VERSION` with it."""


class ModelMemoryError(Exception):
    """The device's memory cannot take one input even alone."""


class EmbeddingModel(Protocol):
    """What a worker holds."""

    def read_image(self, content: bytes) -> Any:  # noqa: ANN401 (what `images` takes)
        """A decoded image. Called from several threads. Raises UnfitImageError."""

    def images(self, images: Sequence[Any]) -> Float32Array:
        """Embeddings of 1 to `GROUP` images that `read_image` gave, float32 [images, D]. Raises ModelMemoryError."""

    def questions(self, texts: Sequence[str]) -> Float32Array:
        """Embeddings of 1 to `GROUP` texts, float32 [texts, D]. Raises ModelMemoryError."""


def embedding_checkpoint(settings: EmbedSettings, vlm: VlmSettings | None) -> ModelSettings:
    """Which checkpoint embeds: that of section `embed`, or the one of section `vlm` in its place."""
    if settings.model.path != VISION_TOWER:
        return settings.model
    if vlm is None:
        raise ModelError(f"embed.model.path is {VISION_TOWER}, and there is no section vlm")
    return vlm.model.replace(precision=settings.model.precision)


def check_embedding_model(settings: EmbedSettings, vlm: VlmSettings | None) -> dict[Inputs, int]:
    """Do all of loading that needs no values of weights. Takes seconds, whatever the model's size.

    Returns:
        The width of the vectors of each kind that the settings embed.

    Raises:
        ModelError: it cannot be loaded.
    """
    checkpoint, kinds = embedding_checkpoint(settings, vlm), settings.inputs.parts
    if settings.model.path == VISION_TOWER:
        return {Inputs.IMAGE: tower_width(checkpoint)}
    widths = check_dual(checkpoint, texts=Inputs.QUESTION in kinds).widths
    if settings.inputs is Inputs.BOTH and settings.combine is Combine.MEAN and widths[0] != widths[1]:
        raise ModelError(
            f"model {checkpoint.path}: its images have width {widths[0]} and its texts {widths[1]}, which have no "
            "mean; set embed.combine to concatenation"
        )
    return {kind: width for kind, width in zip((Inputs.IMAGE, Inputs.QUESTION), widths, strict=True) if kind in kinds}


def load_model(
    settings: EmbedSettings, checkpoint: ModelSettings, limits: ImageSettings, device: str
) -> EmbeddingModel:
    """Load what a space asks for.

    Args:
        settings: what is embedded.
        checkpoint: from `embedding_checkpoint`, with its revision.
        limits: on images, those of section `vlm`.
        device: `cpu`, `cuda`, and so on.

    Raises:
        ModelError: it cannot be loaded.
    """
    if settings.model.path == VISION_TOWER:
        return VisionTower(load(checkpoint, device), limits)
    place = resolve_device(device)
    parts = check_dual(checkpoint, texts=Inputs.QUESTION in settings.inputs.parts)
    return DualEncoder(parts, load_dual(parts, checkpoint, place), place, limits.max_side)


class VisionTower:
    """The vision tower of Qwen2.5-VL: the mean of an image's features, as the language model reads them."""

    def __init__(self, loaded: Loaded, limits: ImageSettings) -> None:
        self._loaded, self._limits = loaded, limits

    def read_image(self, content: bytes) -> Pixels:
        """Pixels within the limits of section `vlm`."""
        return load_pixels(content, self._limits, self._loaded.patching)

    @torch.inference_mode()
    def images(self, images: Sequence[Pixels]) -> Float32Array:
        """Each alone: images differ in size."""
        return np.stack([self._image(image) for image in images])

    def _image(self, image: Pixels) -> Float32Array:
        patching, device = self._loaded.patching, self._loaded.device
        with watching_memory(device) as ran_out:
            patches = patching.patches(to_device(np.stack([image]), device))  # a copy: decoded pixels are read-only
            features = vision_features(self._loaded, patches, torch.tensor([(1, *patching.grid(image))]))
            found: Float32Array = features[0].float().mean(dim=0).cpu().numpy()
        if ran_out:
            raise ModelMemoryError
        return found

    def questions(self, texts: Sequence[str]) -> Float32Array:
        """There are none: the settings refuse them."""
        raise ModelError("the vision tower of section vlm reads no text; set embed.inputs to image")


class DualEncoder:
    """CLIP or SigLIP."""

    def __init__(self, parts: DualParts, model: Any, device: torch.device, max_side: int) -> None:  # noqa: ANN401
        """`model` is what `load_dual` gives. `max_side` bounds encoded images, in pixels."""
        self._parts, self._model, self._device, self._max_side = parts, model, device, max_side

    def read_image(self, content: bytes) -> Float32Array:
        """What the checkpoint's own image processor makes of an image, float32 [3, H, W]."""
        image = Image.fromarray(load_whole(content, self._max_side))  # of an array it would guess the channels
        pixels = self._parts.processor(images=image, return_tensors="np")["pixel_values"]
        return np.asarray(pixels[0], dtype=np.float32)

    def images(self, images: Sequence[Float32Array]) -> Float32Array:
        """In one group, filled up with zeros."""
        pixels_GCHW = np.zeros((GROUP, *images[0].shape), dtype=np.float32)
        pixels_GCHW[: len(images)] = np.stack(images)
        inputs = {"pixel_values": to_device(pixels_GCHW, self._device).to(self._model.dtype)}
        return self._group(self._model.get_image_features, inputs)[: len(images)]

    def questions(self, texts: Sequence[str]) -> Float32Array:
        """In one group, filled up with empty texts. Texts are padded, or cut, to the model's full length."""
        filled = [text.lower() if self._parts.lower else text for text in texts] + [""] * (GROUP - len(texts))
        tokens = self._parts.tokenizer(
            filled, padding="max_length", truncation=True, max_length=self._parts.positions, return_tensors="np"
        )
        names = [name for name in ("input_ids", "attention_mask") if name in tokens]
        inputs = {name: to_device(tokens[name], self._device) for name in names}
        return self._group(self._model.get_text_features, inputs)[: len(texts)]

    @torch.inference_mode()
    def _group(self, compute: Callable[..., Any], inputs: dict[str, Tensor]) -> Float32Array:
        """The features of a group, in halves where the device's memory runs out."""
        with watching_memory(self._device) as ran_out:
            features: Float32Array = compute(**inputs).pooler_output.float().cpu().numpy()
        if not ran_out:
            return features
        size = len(next(iter(inputs.values())))
        if size == 1:
            raise ModelMemoryError
        halves = ({name: part.chunk(2)[half] for name, part in inputs.items()} for half in range(2))
        return np.concatenate([self._group(compute, half) for half in halves])
