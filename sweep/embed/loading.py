"""A CLIP or SigLIP checkpoint -> its model, image processor and tokenizer, each read by transformers' own classes.

Reading is guarded as for the model that answers (`sweep.vlm.checkpoint`): safetensors only, no code from checkpoints.
The image processors are those that need no torchvision. They resize by Pillow, as the checkpoints were trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image

from selector.errors import first_line
from sweep.settings.vlm import ModelSettings
from sweep.vlm.checkpoint import (
    CONFIG,
    Kind,
    ModelError,
    check_checkpoint,
    read_json,
    resolve_folder,
    resolve_precision,
)
from sweep.vlm.engine.loading import (
    DTYPES,
    PROCESSORS,
    check_weight_count,
    has_processor,
    load_weights,
    quiet,
    stand_ins,
    tokenizer_of,
)

LARGEST_SIDE = 2048
"""Pixels per side of a model's input that a checkpoint may ask for."""
DUAL = Kind(
    ("clip", "siglip"),
    "CLIP or SigLIP",
    "embed",
    ("text_model.", "vision_model.", "text_projection.", "visual_projection.", "logit_"),
    "embed.model",
)
_LEAST_SHARE = 0.5  # of the words that a model knows, which its tokenizer has
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class DualParts:
    """A CLIP or SigLIP checkpoint without its weights. transformers types its parts too loosely to be of use.

    Attributes:
        folder: the checkpoint's.
        model_class: `CLIPModel` or `SiglipModel`.
        config: its configuration.
        processor: makes pixels of images.
        tokenizer: makes tokens of texts. None where no texts are read.
        lower: whether texts are read in lower case, as SigLIP was trained.
        positions: tokens of every text, padded or cut.
    """

    folder: Path
    model_class: Any
    config: Any
    processor: Any
    tokenizer: Any
    lower: bool
    positions: int

    @property
    def widths(self) -> tuple[int, int]:
        """Of the vectors of images and of texts."""
        if not self.lower:
            return (self.config.projection_dim, self.config.projection_dim)
        return (self.config.vision_config.hidden_size, self.config.text_config.projection_size)


def dual_config(settings: ModelSettings) -> tuple[Any, bool]:
    """A checkpoint's configuration alone, and whether it is a SigLIP. Raises ModelError."""
    file = resolve_folder(settings) / CONFIG
    is_siglip = read_json(file, needed=True).get("model_type") == "siglip"
    _, config_class, _ = _siglip() if is_siglip else _clip()
    return _read(file, lambda: config_class.from_pretrained(file.parent, local_files_only=True)), is_siglip


def check_dual(settings: ModelSettings, *, texts: bool) -> DualParts:
    """Do all of loading that needs no values of weights. Takes seconds, whatever the model's size.

    Args:
        settings: name the checkpoint.
        texts: whether texts will be read.

    Raises:
        ModelError: says what is missing, wrong or damaged, and where.
    """
    folder = resolve_folder(settings)
    weights = check_checkpoint(folder, DUAL)
    file = folder / CONFIG
    lower = read_json(file, needed=True)["model_type"] == "siglip"
    with quiet():
        model_class, config_class, processor_class = _siglip() if lower else _clip()
        config = _read(file, lambda: config_class.from_pretrained(folder, local_files_only=True))
        side, positions = config.vision_config.image_size, config.text_config.max_position_embeddings
        for name, value, most in (("image_size", side, LARGEST_SIDE), ("max_position_embeddings", positions, 2**16)):
            if type(value) is not int or not 1 <= value <= most:
                raise ModelError(f"{file}: {name} is {value!r:.60}; expected a whole number up to {most}")
        check_weight_count(file, model_class, config, weights)
        processor = _processor(folder, processor_class, side)
        tokenizer = _tokenizer(folder, config, lower) if texts else None
    load_weights(model_class, folder, dtype=torch.bfloat16, state_dict=stand_ins(weights), config=config)
    return DualParts(folder, model_class, config, processor, tokenizer, lower, positions)


def load_dual(parts: DualParts, settings: ModelSettings, device: torch.device) -> Any:  # noqa: ANN401 - see `DualParts`
    """The model itself, on its device. Raises ModelError."""
    dtype = DTYPES[resolve_precision(settings.precision, device.type)]
    model = load_weights(parts.model_class, parts.folder, dtype=dtype, use_safetensors=True)
    model.requires_grad_(False)
    return model.eval().to(device)


def _clip() -> tuple[Any, Any, Any]:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    return CLIPModel, CLIPConfig, CLIPImageProcessorPil


def _siglip() -> tuple[Any, Any, Any]:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    return SiglipModel, SiglipConfig, SiglipImageProcessorPil


def _read(file: Path, make: Callable[[], Made]) -> Made:
    try:
        return make()
    except Exception as error:  # settings of a wrong type or value: each has an exception of its own
        raise ModelError(f"{file}: cannot be read ({type(error).__name__}: {first_line(error)})") from None


def _processor(folder: Path, kind: Any, side: int) -> Any:  # noqa: ANN401 - see `DualParts`
    """The checkpoint's image processor, known to give what the model takes."""
    file = next((folder / name for name in PROCESSORS if has_processor(folder / name)), None)
    if file is None:
        raise ModelError(
            f"{folder}: holds neither {PROCESSORS[1]} nor a {PROCESSORS[0]} with an image_processor: how images become "
            "pixels; copy the file from the model that this one was made from"
        )
    processor = _read(file, lambda: kind.from_pretrained(folder, local_files_only=True))
    sizes = [dict(size) for size in (processor.size, getattr(processor, "crop_size", None)) if size]
    values = [value for size in sizes for value in size.values() if value is not None]
    if not all(type(value) is int and 1 <= value <= 2 * LARGEST_SIDE for value in values):
        raise ModelError(f"{file}: size and crop_size are {sizes!r:.120}; the model takes images of {side} pixels")
    made = _read(file, lambda: processor(images=Image.new("RGB", (48, 32)), return_tensors="np")["pixel_values"])
    if made.shape != (1, 3, side, side):
        raise ModelError(
            f"{file}: makes images of shape {list(made.shape[1:])}; the model takes {[3, side, side]} ({CONFIG}): they "
            "do not belong together"
        )
    return processor


def _tokenizer(folder: Path, config: Any, siglip: bool) -> Any:  # noqa: ANN401 - see `DualParts`
    """The checkpoint's tokenizer, known to be of this model: from a folder without its words another one is made."""
    try:
        tokenizer = tokenizer_of(folder)
    except ModelError as error:
        if siglip and (folder / "spiece.model").exists():
            raise ModelError(
                f"{error}; the tokenizer of this SigLIP needs the packages sentencepiece and protobuf: install them, "
                "or set embed.inputs to image"
            ) from None
        raise
    words, needed = len(tokenizer), config.text_config.vocab_size
    if not needed * _LEAST_SHARE <= words <= needed:
        raise ModelError(
            f"{folder}: no usable tokenizer: it has {words} words and the model {needed} ({CONFIG}); copy "
            "tokenizer.json and tokenizer_config.json from the model that this one was made from"
        )
    return tokenizer
