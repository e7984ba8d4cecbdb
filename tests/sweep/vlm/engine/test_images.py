from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from sweep.settings.vlm import ImageSettings
from sweep.vlm.engine.engine import Engine
from sweep.vlm.engine.images import Patching, load_pixels, target_of
from sweep.vlm.engine.pixels import MAX_PIXELS, UnfitImageError, target_size
from sweep.vlm.work import Answer, Failure, FailureKind, WorkItem
from tests.sweep.vlm.models import build_table

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL"
)  # as sweep.vlm.engine.images sets it outside of pytest
LIMITS = ImageSettings(min_pixels=784, max_pixels=784 * 16)
PATCHING = Patching.of(Qwen2VLImageProcessorPil())
GRADIENT = np.linspace(0, 255, 60 * 40 * 3).reshape(40, 60, 3).astype(np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return load_pixels(content, LIMITS, PATCHING)


def reason(content: bytes, limits: ImageSettings = LIMITS) -> str:
    with pytest.raises(UnfitImageError) as caught:
        load_pixels(content, limits, PATCHING)
    return str(caught.value)


@given(
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.sampled_from([(784, 12544), (3136, 1_003_520), (100, 200), (50_000, 50_000)]),
)
def test_sizes_are_those_of_transformers(height: int, width: int, limits: tuple[int, int]) -> None:
    if max(height, width) <= 200 * min(height, width):
        chosen = ImageSettings(min_pixels=limits[0], max_pixels=limits[1])
        assert target_size(height, width, target_of(chosen, PATCHING)) == smart_resize(height, width, 28, *limits)


@settings(max_examples=25)
@given(st.integers(10, 200), st.integers(10, 200), st.integers(0, 2**32 - 1))
def test_patches_are_those_of_transformers(height: int, width: int, seed: int) -> None:
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    size = {"shortest_edge": LIMITS.min_pixels, "longest_edge": LIMITS.max_pixels}
    expected = Qwen2VLImageProcessorPil(size=size)(images=[image], return_tensors="pt")
    found = pixels(encoded(image))
    patches = PATCHING.patches(torch.from_numpy(np.stack([found, found])))
    assert PATCHING.grid(found) == tuple(expected["image_grid_thw"][0, 1:].tolist())
    torch.testing.assert_close(patches, torch.cat([expected["pixel_values"]] * 2), atol=2e-6, rtol=0)


def test_grey_palette_and_rgb_agree() -> None:
    grey = Image.fromarray(GRADIENT[:, :, 0])
    expected = pixels(encoded(grey.convert("RGB")))
    assert np.array_equal(pixels(encoded(grey)), expected)
    assert np.array_equal(pixels(encoded(grey.convert("P"))), expected)
    assert np.array_equal(pixels(encoded(grey, "TIFF")), expected)
    assert np.array_equal(pixels(encoded(grey, "BMP")), expected)


def test_black_and_white() -> None:
    bits = Image.fromarray(np.indices((40, 60)).sum(0) % 7 > 3)
    assert bits.mode == "1"
    assert np.array_equal(pixels(encoded(bits)), pixels(encoded(bits.convert("RGB"))))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(form: str) -> None:
    grey = GRADIENT[:, :, 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(pixels(encoded(deep, form)), pixels(encoded(Image.fromarray(grey))))


def test_floats_count_as_fractions_of_white() -> None:
    grey = GRADIENT[:, :, 0]
    fractions = Image.fromarray(grey.astype(np.float32) / 255)
    assert np.array_equal(pixels(encoded(fractions, "TIFF")), pixels(encoded(Image.fromarray(grey))))


def test_thirty_two_bit_integers() -> None:
    grey = GRADIENT[:, :, 0].astype(np.int32)
    expected = pixels(encoded(Image.fromarray(GRADIENT[:, :, 0])))
    assert np.array_equal(pixels(encoded(Image.fromarray(grey), "TIFF")), expected)
    assert np.array_equal(pixels(encoded(Image.fromarray(grey * 257), "TIFF")), expected)


def test_cmyk_keeps_its_colours() -> None:
    red = Image.new("RGB", (56, 56), (200, 30, 40)).convert("CMYK")
    found = pixels(encoded(red, "JPEG", quality=95)).reshape(-1, 3).mean(0)
    assert np.allclose(found, (200, 30, 40), atol=12)


def transparent(mode: str) -> Image.Image:
    picture = Image.new("RGBA", (56, 56), (255, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 28, 56))
    if mode == "P":
        palette = Image.new("P", (56, 56), 1)
        palette.putpalette([0, 0, 0, 255, 0, 0])
        palette.paste(0, (0, 0, 28, 56))
        palette.info["transparency"] = 0
        return palette
    return picture.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    found = pixels(encoded(transparent(mode)))
    assert (found[:, :24] > 240).all()
    assert found[:, 32:].mean() < 130


def test_transparent_colour_of_rgb() -> None:
    image = Image.new("RGB", (56, 56), (10, 20, 30))
    assert (pixels(encoded(image, transparency=(10, 20, 30))) == 255).all()


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_exif_rotation_is_applied(orientation: int, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.rot90(GRADIENT, -turn))  # turning it as EXIF says gives the gradient
    assert np.array_equal(pixels(encoded(stored, exif=exif)), pixels(encoded(Image.fromarray(GRADIENT))))


def test_broken_exif_does_not_lose_the_picture() -> None:
    image = Image.fromarray(GRADIENT)
    assert pixels(encoded(image, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")).shape == pixels(encoded(image)).shape


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (56, 56), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(content) == np.array([255, 0, 0])).all()


def test_a_film_strip_of_jpegs_is_its_first_picture() -> None:
    first, second = Image.fromarray(GRADIENT), Image.new("RGB", (60, 40))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(pixels(content), pixels(encoded(first, "JPEG")))


def test_one_pixel_and_narrow_images() -> None:
    assert pixels(encoded(Image.new("RGB", (1, 1), (9, 8, 7)))).shape == (28, 28, 3)
    assert pixels(encoded(Image.new("RGB", (200, 1)))).shape[0] == 28
    assert reason(encoded(Image.new("RGB", (201, 1)))) == "201 x 1 pixels; the model takes sides of a ratio up to 200"


def bare_png(width: int, height: int) -> bytes:
    """A PNG whose header promises any size; there is nothing behind it."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(b"\0" * 10)) + part(b"IEND", b"")


def test_huge_images_are_refused_before_they_are_decoded() -> None:
    assert "max_side is 30000, not decoded" in reason(bare_png(40_000, 2))
    assert "max_side is 100, not decoded" in reason(bare_png(101, 2), LIMITS.model_copy(update={"max_side": 100}))
    for side in (9_500, 29_000):  # around Pillow's own warning and error
        assert f"{MAX_PIXELS:,}" in reason(bare_png(side, side))


def test_damaged_images() -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)), "JPEG")
    assert "damaged or cut off" in reason(whole[: len(whole) // 2])
    assert reason(b"") == "the file is empty"
    assert reason(b"no image at all") == "not an image that can be read (unknown format)"
    assert "not an image that can be read" in reason(encoded(Image.fromarray(GRADIENT), "EPS"))


@settings(max_examples=60)
@given(st.data(), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
def test_any_damage_gives_pixels_or_a_reason(data: st.DataObject, form: str) -> None:
    content = bytearray(encoded(Image.fromarray(GRADIENT), form))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(len(content) // 2, len(content)))
    try:
        found = pixels(bytes(content[:cut]))
    except UnfitImageError as error:
        assert "\n" not in str(error)
    else:
        assert found.ndim == 3 and found.shape[2] == 3


def test_only_items_with_the_bad_image_fail(engine: Engine) -> None:
    table = build_table(7)
    expected = engine.answer(table, [WorkItem(0), WorkItem(0, (1,))])
    table.images[3] = "no such file"
    table.images[4] = b"junk"
    table.images[5] = b""
    items = [WorkItem(0), WorkItem(0, (1,)), WorkItem(0, (3,)), WorkItem(4), WorkItem(1, (2, 5)), WorkItem(3, (4,))]
    found = engine.answer(table, items)
    assert found[:2] == expected
    assert found[2] == Failure(FailureKind.MISSING, "no such file", "images/3.png")
    assert found[3] == Failure(FailureKind.IMAGE, "not an image that can be read (unknown format)", "images/4.png")
    assert found[4] == Failure(FailureKind.IMAGE, "the file is empty", "images/5.png")
    assert isinstance(found[5], Failure)
    assert all(isinstance(result, Answer) for result in found[:2])


def test_an_image_that_vanishes_after_it_was_hashed(engine: Engine) -> None:
    table = build_table(3, seed=77)
    hashes = {item: table.image_hash(item) for item in range(3)}
    table.image_hash = hashes.__getitem__  # type: ignore[method-assign]
    table.images[1] = "no such file"
    good, bad = engine.answer(table, [WorkItem(0), WorkItem(0, (1,))])
    assert isinstance(good, Answer)
    assert bad == Failure(FailureKind.MISSING, "no such file", "images/1.png")
