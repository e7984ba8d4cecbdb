"""Encoded bytes -> the resized pixels that the vision tower sees. Every odd kind of image, or one typed reason.

What is done, so that it can be done again elsewhere: the first frame is taken and rotated as EXIF says. 16-bit grey is
scaled to 8 bits. Transparency is laid on white. Pillow converts everything else to RGB. Size and resampling are those
of transformers' own Qwen2-VL image processor.

Not accepted are formats outside of `FORMATS`, sides above the limit, more than `MAX_PIXELS` pixels, and what takes more
than `MAX_BYTES` of memory in the mode that the header names. All of that is read off the header, before anything is
decoded. Nor are sides whose ratio is above 200, which Qwen2.5-VL refuses.

Needs Pillow and numpy alone. As a program it decodes for others (`selector.helper`).
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from selector.helper import Limits, serve

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO", "TGA")  # none runs code
MAX_PIXELS = 89_478_485  # where Pillow begins to suspect a decompression bomb
MAX_BYTES = 512 * 2**20
"""Memory of one image and of the copies that are made of it. `MAX_PIXELS` of RGB take 341 MiB."""
MAX_RATIO = 200
HELPER = Limits(seconds=20, mebibytes=1024)
"""Of an image that is not `is_light`: encoded, decoded, and whatever its codec needs."""
LIGHT_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP")
LIGHT_BYTES = 64 * 2**20
LIGHT_SCANS = 16  # a progressive JPEG has 10 or so, each as much work as a picture
STRIP_PIXELS = 2**20
_BYTES = {"1": 2, "L": 1, "P": 5, "I;16": 3, "I": 5, "F": 5, "RGB": 4}  # with copies; Pillow keeps RGB in 4 bytes
_MOST_BYTES = 8  # of the other modes, such as RGBA
_TURNED = range(2, 9)  # EXIF orientations that make another copy
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # on every odd image; what matters fails
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # such images are refused below
_BAD_EXIF = (OSError, SyntaxError, ValueError, KeyError, TypeError, AttributeError, struct.error, ZeroDivisionError)

Pixels = npt.NDArray[np.uint8]


class UnfitImageError(Exception):
    """An image that cannot be shown to the model. The message is the reason, without the place."""


@dataclass(frozen=True, slots=True)
class Target:
    """What an image shall become.

    Attributes:
        min_pixels, max_pixels: between which it is resized.
        max_side: of the encoded image.
        side: of a token, which sides are multiples of.
        resample: Pillow's filter.
    """

    min_pixels: int
    max_pixels: int
    max_side: int
    side: int
    resample: int


@dataclass(frozen=True, slots=True)
class Whole:
    """An image keeps its size: somebody else resizes it.

    Attributes:
        max_side: of the encoded image.
    """

    max_side: int


def open_image(content: bytes, target: Target | Whole) -> Image.Image:
    """An image of which only the header has been read, small enough to be decoded.

    Raises:
        UnfitImageError: not an image, or too large.
    """
    if not content:
        raise UnfitImageError("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=_readable())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnfitImageError(f"more than {MAX_PIXELS:,} pixels; not decoded") from None
    except Exception as error:  # Pillow's readers of damaged headers raise anything
        raise UnfitImageError(f"not an image that can be read ({_brief(error)})") from None
    width, height = image.size
    if max(width, height) > target.max_side:
        raise UnfitImageError(f"{width} x {height} pixels; max_side is {target.max_side}, not decoded")
    if width * height > MAX_PIXELS:
        raise UnfitImageError(f"{width} x {height} pixels; more than {MAX_PIXELS:,} are not decoded")
    if min(width, height) < 1:
        raise UnfitImageError(f"{width} x {height} pixels")
    _check_memory(image, memory_of(image))
    return image


def memory_of(image: Image.Image) -> int:
    """Bytes that an image and its copies take, by its mode and size."""
    mode = "I;16" if image.mode.startswith("I;16") else image.mode
    plain = _MOST_BYTES if "transparency" in image.info else _BYTES.get(mode, _MOST_BYTES)
    return image.size[0] * image.size[1] * plain


def is_light(image: Image.Image, content: bytes) -> bool:
    """Whether decoding it is known to be quick and small: an everyday format, size and number of scans."""
    if image.format not in LIGHT_FORMATS or memory_of(image) > LIGHT_BYTES:
        return False
    return image.format not in ("JPEG", "MPO") or content.count(b"\xff\xda") <= LIGHT_SCANS


def pixels_of(image: Image.Image, target: Target | Whole) -> Pixels:
    """Decode an opened image, and resize it as the target says: uint8 [H, W, 3].

    Raises:
        UnfitImageError: damaged, or too narrow.
    """
    picture = _upright(image)
    width, height = picture.size
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UnfitImageError(f"{width} x {height} pixels; the model takes sides of a ratio up to {MAX_RATIO}")
    if isinstance(target, Whole):
        return np.asarray(picture.convert("RGB"))
    height, width = target_size(height, width, target)
    if picture.size != (width, height):
        picture = picture.resize((width, height), resample=Image.Resampling(target.resample))
    return np.asarray(picture.convert("RGB"))  # after the resizing: grey is the same in all channels


def target_size(height: int, width: int, target: Target) -> tuple[int, int]:
    """The size an image is resized to, by Qwen2-VL's rule (Wang et al. 2024, dynamic resolution, `smart_resize`).

    Sides are rounded to multiples of `side`. If the area is then outside of the limits, both are scaled to it.
    """
    side = target.side
    rows, columns = round(height / side), round(width / side)  # to even at .5, as there
    if rows * columns * side * side > target.max_pixels:
        scale = math.sqrt(height * width / target.max_pixels)
        rows, columns = (max(1, math.floor(extent / scale / side)) for extent in (height, width))
    elif rows * columns * side * side < target.min_pixels:
        scale = math.sqrt(target.min_pixels / (height * width))
        rows, columns = (math.ceil(extent * scale / side) for extent in (height, width))
    return rows * side, columns * side


@cache
def _readable() -> tuple[str, ...]:
    """The `FORMATS` that this installation of Pillow was built for."""
    Image.init()
    return tuple(form for form in FORMATS if form in Image.OPEN)


def _check_memory(image: Image.Image, needed: int) -> None:
    if needed > MAX_BYTES:
        raise UnfitImageError(
            f"{image.size[0]} x {image.size[1]} pixels of mode {image.mode} take {needed / 2**20:.0f} MiB of memory; "
            f"above {MAX_BYTES // 2**20} they are not decoded"
        )


def _upright(image: Image.Image) -> Image.Image:
    """First frame, rotated as EXIF says, in RGB or grey."""
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # damaged data: OSError, SyntaxError, struct.error, ValueError, zlib.error ...
        raise UnfitImageError(f"damaged or cut off ({_brief(error)})") from None
    with suppress(*_BAD_EXIF):  # then it says nothing about rotation; the picture itself is whole
        if image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED:
            _check_memory(image, memory_of(image) + 4 * image.size[0] * image.size[1])
            image = ImageOps.exif_transpose(image)
    try:
        return _plain(image)
    except MemoryError:
        raise
    except Exception as error:  # a palette or profile that does not fit its pixels
        raise UnfitImageError(f"cannot be turned into RGB ({_brief(error)})") from None


def _plain(image: Image.Image) -> Image.Image:
    """In mode RGB, or L where that is the same. Large conversions go strip by strip."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _on_white(image)
    if image.mode in ("1", "L"):
        return image.convert("L") if image.mode == "1" else image
    return image if image.mode == "RGB" else image.convert("RGB")


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of an image from top to bottom, each with the row that it begins at."""
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _on_white(image: Image.Image) -> Image.Image:
    found = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        picture = strip.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        found.paste(Image.alpha_composite(white, picture).convert("RGB"), (0, top))
    return found


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep grey as bytes: integers above 255 count as 16-bit, floats up to 1 as fractions of white."""
    kind = np.asarray(image.crop((0, 0, 1, 1))).dtype
    is_deep = kind == np.uint16  # whatever its values: most images are, and then no pass over them is needed
    brightest = 0.0 if is_deep else max(_values(strip).max() for _, strip in _strips(image))
    factor, divisor = 1.0, 1.0
    if np.issubdtype(kind, np.floating):
        factor = 255.0 if brightest <= 1 else 1.0
    elif is_deep or brightest > 255:
        divisor = 257.0
    found = Image.new("L", image.size)
    for top, strip in _strips(image):
        values = _values(strip) * factor / divisor
        found.paste(Image.fromarray(values.clip(0, 255).round().astype(np.uint8)), (0, top))
    return found


def _values(strip: Image.Image) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = np.nan_to_num(
        np.asarray(strip).astype(np.float64), nan=0.0, posinf=np.inf, neginf=0.0
    )
    return values


def _brief(error: Exception) -> str:
    text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text


# --- In the helper ---------------------------------------------------------------------------------------------------


def decode(value: Any, content: bytes) -> tuple[Any, bytes]:  # noqa: ANN401 (JSON)
    """The pixels' shape, and their bytes."""
    target = Target(**value) if "side" in value else Whole(**value)
    pixels = pixels_of(open_image(content, target), target)
    return pixels.shape, pixels.tobytes()


if __name__ == "__main__":
    serve({"decode": decode})
