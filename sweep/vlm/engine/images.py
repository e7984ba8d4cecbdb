"""Encoded bytes -> the resized pixels that the vision tower sees. Every odd kind of image, or one typed reason.

What is done, so that it can be done again elsewhere: the first frame is taken and rotated as EXIF says. 16-bit grey is
scaled to 8 bits. Transparency is laid on white. Pillow converts everything else to RGB. Size and resampling are those
of transformers' own Qwen2-VL image processor.

Not accepted are formats outside of `FORMATS`, sides above the limit and more than `MAX_PIXELS` pixels. Both sizes are
read off the header, before anything is decoded. Nor are sides whose ratio is above 200, which Qwen2.5-VL refuses.

Letters: B images of one size, H rows, W columns, C channels, P patches.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sweep.settings.vlm import ImageSettings

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA")  # none runs code
MAX_PIXELS = 89_478_485  # where Pillow begins to suspect a decompression bomb: 256 MiB of RGB
MAX_RATIO = 200
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # on every odd image; what matters fails
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # such images are refused below
_BAD_EXIF = (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError, struct.error, ZeroDivisionError)

Pixels = npt.NDArray[np.uint8]


class UnfitImageError(Exception):
    """An image that cannot be shown to the model. The message is the reason, without the place."""


@dataclass(frozen=True, slots=True)
class Patching:
    """How a checkpoint's image processor turns images into patches (`preprocessor_config.json`).

    Attributes:
        patch: side of a patch in pixels.
        merge: patches per side of one token of the language model.
        temporal: frames a still image is repeated to.
        mean, std: per channel, of values in [0, 1].
        rescale: factor from bytes to [0, 1].
        resample: Pillow's filter.
    """

    patch: int
    merge: int
    temporal: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float
    resample: Image.Resampling

    @classmethod
    def of(cls, processor: Any) -> Patching:  # noqa: ANN401 - transformers' processors are untyped
        """The numbers of a loaded `Qwen2VLImageProcessorPil`."""
        return cls(
            patch=int(processor.patch_size),
            merge=int(processor.merge_size),
            temporal=int(processor.temporal_patch_size),
            mean=tuple(float(value) for value in processor.image_mean),
            std=tuple(float(value) for value in processor.image_std),
            rescale=float(processor.rescale_factor),
            resample=Image.Resampling(int(processor.resample)),
        )

    def grid(self, pixels: Pixels) -> tuple[int, int]:
        """Rows and columns of patches."""
        return pixels.shape[0] // self.patch, pixels.shape[1] // self.patch

    def patches(self, images_BHWC: Tensor) -> Tensor:
        """Pixels of equally large images, uint8 [B, H, W, 3], as patches: float32 [B * P, 3 * temporal * patch^2].

        Patches come merge block by merge block, equal to `Qwen2VLImageProcessorPil` but on the tensor's device.
        """
        count, height, width, channels = images_BHWC.shape
        block = self.merge * self.patch
        mean = torch.tensor(self.mean, device=images_BHWC.device)
        std = torch.tensor(self.std, device=images_BHWC.device)
        scaled = (images_BHWC.float() * self.rescale - mean) / std
        inside = (self.merge, self.patch)
        cells = scaled.view(count, height // block, *inside, width // block, *inside, channels)
        ordered = cells.permute(0, 1, 4, 2, 5, 7, 3, 6)  # block row, block column, row, column, channel, y, x
        doubled = ordered.unsqueeze(6).expand(*ordered.shape[:6], self.temporal, self.patch, self.patch)
        return doubled.reshape(-1, channels * self.temporal * self.patch * self.patch)


def load_pixels(content: bytes, limits: ImageSettings, patching: Patching) -> Pixels:
    """Decode and resize an encoded image.

    Returns:
        uint8 [H, W, 3]. Both sides are multiples of a token's side, H * W lies within the limits as far as
        Qwen2.5-VL's rounding allows.

    Raises:
        UnfitImageError: not an image, damaged, too large, or too narrow.
    """
    image = _upright(_open(content, limits))
    width, height = image.size
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UnfitImageError(f"{width} x {height} pixels; the model takes sides of a ratio up to {MAX_RATIO}")
    height, width = target_size(height, width, limits, patching.patch * patching.merge)
    if image.size != (width, height):
        image = image.resize((width, height), resample=patching.resample)
    return np.asarray(image)


def target_size(height: int, width: int, limits: ImageSettings, side: int) -> tuple[int, int]:
    """The size an image is resized to, by Qwen2-VL's rule (Wang et al. 2024, dynamic resolution, `smart_resize`).

    Sides are rounded to multiples of `side`. If the area is then outside of the limits, both are scaled to it.
    """
    rows, columns = round(height / side), round(width / side)  # to even at .5, as there
    if rows * columns * side * side > limits.max_pixels:
        scale = math.sqrt(height * width / limits.max_pixels)
        rows, columns = (max(1, math.floor(extent / scale / side)) for extent in (height, width))
    elif rows * columns * side * side < limits.min_pixels:
        scale = math.sqrt(limits.min_pixels / (height * width))
        rows, columns = (math.ceil(extent * scale / side) for extent in (height, width))
    return rows * side, columns * side


@cache
def _readable() -> tuple[str, ...]:
    """The `FORMATS` that this installation of Pillow was built for."""
    Image.init()
    return tuple(form for form in FORMATS if form in Image.OPEN)


def _open(content: bytes, limits: ImageSettings) -> Image.Image:
    if not content:
        raise UnfitImageError("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_readable())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnfitImageError(f"more than {MAX_PIXELS:,} pixels; not decoded") from None
    except Exception as error:  # Pillow's readers of damaged headers raise anything
        raise UnfitImageError(f"not an image that can be read ({_brief(error)})") from None
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise UnfitImageError(f"{width} x {height} pixels; max_side is {limits.max_side}, not decoded")
    if width * height > MAX_PIXELS:
        raise UnfitImageError(f"{width} x {height} pixels; more than {MAX_PIXELS:,} are not decoded")
    if min(width, height) < 1:
        raise UnfitImageError(f"{width} x {height} pixels")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """First frame, rotated as EXIF says, in RGB."""
    try:
        image.load()
    except Exception as error:  # damaged data: OSError, SyntaxError, struct.error, ValueError, zlib.error ...
        raise UnfitImageError(f"damaged or cut off ({_brief(error)})") from None
    with suppress(*_BAD_EXIF):  # then it says nothing about rotation; the picture itself is whole
        image = ImageOps.exif_transpose(image)
    try:
        return _rgb(image)
    except Exception as error:  # a palette or profile that does not fit its pixels
        raise UnfitImageError(f"cannot be turned into RGB ({_brief(error)})") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")


def _eight_bits(grey: npt.NDArray[Any]) -> Pixels:
    """Deep grey as bytes: integers above 255 count as 16-bit, floats up to 1 as fractions of white."""
    values = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=np.inf, neginf=0.0)
    brightest = values.max()
    if np.issubdtype(grey.dtype, np.floating):
        values = values * 255 if brightest <= 1 else values
    elif grey.dtype == np.uint16 or brightest > 255:
        values = values / 257
    return np.asarray(values.clip(0, 255).round(), dtype=np.uint8)


def _brief(error: Exception) -> str:
    text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text
