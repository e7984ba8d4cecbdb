"""Images that are small as files and large in any other way: pixels or one reason, in bounded time and memory."""

from __future__ import annotations

import io
import resource
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from selector.helper import Helper, Limits
from sweep.settings.vlm import ImageSettings
from sweep.vlm.engine.images import _decoded, load_pixels, target_of
from sweep.vlm.engine.pixels import (
    HELPER,
    LIGHT_SCANS,
    MAX_BYTES,
    UnfitImageError,
    is_light,
    memory_of,
    open_image,
    pixels_of,
)
from tests.sweep.vlm.engine.test_images import LIMITS, PATCHING, encoded

TARGET = target_of(LIMITS, PATCHING)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, kind: int, *more: bytes, sample: bytes = b"\x7f", level: int = 1) -> bytes:
    """A whole PNG of one value, compressed a thousandfold. `kind` is PNG's: 0 grey, 2 RGB, 3 palette, 6 RGBA."""
    row = b"\0" + sample * (width * bits * {0: 1, 2: 3, 3: 1, 6: 4}[kind] // 8)
    packer = zlib.compressobj(level)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    parts = (header, *more, chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@contextmanager
def frugal(mebibytes: int, seconds: float = 60.0) -> Iterator[None]:
    """Neither this process nor its helpers take more; the time is for a machine with others on it."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before <= mebibytes * 2**10
    assert time.monotonic() - started < seconds


def reason(content: bytes) -> str:
    with pytest.raises(UnfitImageError) as caught:
        load_pixels(content, LIMITS, PATCHING)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_sixteen_bits_of_nine_thousand_squared() -> None:
    """157 kB of file. It once took 2.5 GB and 11 s; now its 162 MB are decoded elsewhere."""
    content = png(9000, 9000, 16, 0, level=9)
    assert len(content) < 200_000
    with frugal(64):
        found = load_pixels(content, LIMITS, PATCHING)
    assert (found == 127).all()


@pytest.mark.parametrize("mode", ["RGBA", "CMYK", "P"])
def test_modes_that_take_more_than_their_pixels_say(mode: str) -> None:
    """Known from the header: nothing is decoded."""
    forms: dict[str, Callable[[], bytes]] = {
        "RGBA": lambda: png(9000, 9000, 8, 6),
        "P": lambda: png(9000, 9000, 8, 3, chunk(b"PLTE", b"\1\2\3" * 2), chunk(b"tRNS", b"\0\1"), sample=b"\0"),
        "CMYK": lambda: tiff_header(9000, 9000),
    }
    content = forms[mode]()
    with frugal(16):
        message = reason(content)
    assert f"9000 x 9000 pixels of mode {mode} take 618 MiB of memory; above 512 they are not decoded" == message


def tiff_header(width: int, height: int) -> bytes:
    """Of an uncompressed CMYK image; there are no pixels behind it."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 5), (273, 4, 1, 8),
            (277, 3, 1, 4), (278, 4, 1, height), (279, 4, 1, width * height * 4)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    entries = entries.replace(struct.pack("<HHII", 258, 3, 1, 8), struct.pack("<HHII", 258, 3, 4, 8 + 2 + 12 * 9 + 4))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0) + b"\x08\0" * 4


def test_a_progressive_jpeg_of_many_scans() -> None:
    """Each scan of some bytes is as much work as a picture. It is decoded elsewhere, and not for long."""
    content = encoded(Image.new("RGB", (4000, 4000)), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    bomb = content[:last] + scan * 400 + content[-2:]
    assert len(bomb) < 2**21
    image = open_image(bomb, TARGET)
    assert not is_light(image, bomb) and memory_of(image) < MAX_BYTES
    helper = Helper("sweep.vlm.engine.pixels", Limits(1, HELPER.mebibytes))
    with frugal(16), pytest.raises(UnfitImageError, match="not decoded: it takes more than 1 seconds"):
        _decoded(bomb, TARGET, helper)


def test_everyday_images_are_decoded_here() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
    for form, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("GIF", {})):
        content = encoded(picture, form, **options)
        assert is_light(open_image(content, TARGET), content)
    assert encoded(picture, "JPEG", progressive=True).count(b"\xff\xda") < LIGHT_SCANS


@pytest.mark.parametrize("form", ["TIFF", "PPM", "TGA", "ICO", "JPEG2000"])
def test_decoded_elsewhere_is_decoded_equally(form: str) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    content = encoded(picture, form)
    image = open_image(content, TARGET)
    assert not is_light(image, content)
    assert np.array_equal(load_pixels(content, LIMITS, PATCHING), pixels_of(image, TARGET))


def test_an_icon_whose_picture_is_larger_than_it_says() -> None:
    inner = png(9_600, 9_600, 8, 0)
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    with frugal(16):
        message = reason(struct.pack("<HHH", 0, 1, 1) + entry + inner)
    assert message == "more than 89,478,485 pixels; not decoded"


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
def test_text_and_profiles_that_unpack_to_gigabytes(name: bytes) -> None:
    packed = zlib.compress(bytes(2**27), 9)
    data = {b"iCCP": b"x\0\0", b"zTXt": b"x\0\0", b"iTXt": b"x\0\1\0\0\0"}[name] + packed
    content = png(56, 56, 8, 2, chunk(name, data))
    with frugal(64):
        try:
            found = load_pixels(content, LIMITS, PATCHING)
        except UnfitImageError as error:
            assert "too large" in str(error)
        else:
            assert (found == 127).all()  # the picture itself is whole


def test_only_the_first_of_many_frames_is_decoded() -> None:
    frames = [Image.new("P", (2000, 2000), number % 256) for number in range(20)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    with frugal(64, seconds=20):
        assert load_pixels(buffer.getvalue(), LIMITS, PATCHING).shape[2] == 3


def test_a_large_photograph_that_is_turned() -> None:
    """50 megapixels and another copy: within the bounds, elsewhere."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("L", (8000, 6000), 9), "JPEG", exif=exif)
    limits = ImageSettings(min_pixels=784, max_pixels=784 * 48)
    with frugal(300):
        found = load_pixels(content, limits, PATCHING)
    assert found.shape[0] > found.shape[1]
