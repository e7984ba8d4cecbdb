"""Images as a checkpoint's image processor has them: pixels (`sweep.vlm.engine.pixels`), then patches.

Everyday images are decoded here. Others go through a helper process, which may not take long nor much memory.

Letters: B images of one size, H rows, W columns, C channels, P patches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from threading import get_ident
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selector.helper import CallError, Helper, LimitError, shared_helper
from sweep.settings.vlm import ImageSettings
from sweep.vlm.engine.pixels import HELPER, Pixels, Target, UnfitImageError, Whole, is_light, open_image, pixels_of


@dataclass(frozen=True, slots=True)
class Patching:
    """How a checkpoint's image processor turns images into patches.

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
        UnfitImageError: not an image, damaged, too large, too slow to decode, or too narrow.
    """
    return pixels_within(content, target_of(limits, patching))


def load_whole(content: bytes, max_side: int) -> Pixels:
    """Decode an encoded image and leave its size as it is, for a checkpoint's own image processor.

    Returns:
        uint8 [H, W, 3], rotated as EXIF says, transparency on white.

    Raises:
        UnfitImageError: as `load_pixels`.
    """
    return pixels_within(content, Whole(max_side))


def pixels_within(content: bytes, target: Target | Whole) -> Pixels:
    """Decode and resize an encoded image. Raises as `load_pixels`."""
    image = open_image(content, target)
    if is_light(image, content):
        return pixels_of(image, target)
    image.close()
    return _decoded(content, target, shared_helper("sweep.vlm.engine.pixels", HELPER, get_ident()))


def target_of(limits: ImageSettings, patching: Patching) -> Target:
    """What an image becomes under these settings for this checkpoint."""
    side = patching.patch * patching.merge
    return Target(limits.min_pixels, limits.max_pixels, limits.max_side, side, int(patching.resample))


def _decoded(content: bytes, target: Target | Whole, helper: Helper) -> Pixels:
    try:
        shape, pixels = helper.call("decode", asdict(target), content)
    except LimitError as error:
        raise UnfitImageError(f"not decoded: {error}") from None
    except CallError as error:
        text = error.text if error.kind == UnfitImageError.__name__ else f"damaged ({error.kind}: {error.text[:120]})"
        raise UnfitImageError(text) from None
    return np.frombuffer(pixels, dtype=np.uint8).reshape(shape)
