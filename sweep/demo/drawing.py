"""Images of concepts: 28 x 28 pixels, drawn from signed distances.

Everything except shape, colour and texture is nuisance: place, size, rotation, tint, background, clutter, noise.
Letters: B images, H rows, W columns. Distances are in units of the shape's radius, negative inside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from selector.arrays import Float64Array, Int64Array
from sweep.demo.concepts import COLOURS, concept_parts

ByteArray = npt.NDArray[np.uint8]

SIDE = 28
RADIUS = (8.0, 11.0)  # pixels
SHIFT = 2.5  # pixels, either way
TURN = 0.30  # radians, either way
TINT = 0.07  # of full brightness, standard deviation per channel
NOISE = 0.05
CLUTTER = 3  # small discs of any colour

_RGB = np.array(
    [
        [0.88, 0.12, 0.12],  # red
        [0.95, 0.52, 0.05],  # orange
        [0.93, 0.88, 0.15],  # yellow
        [0.15, 0.68, 0.20],  # green
        [0.15, 0.80, 0.85],  # cyan
        [0.15, 0.28, 0.90],  # blue
        [0.52, 0.18, 0.72],  # purple
        [0.97, 0.55, 0.75],  # pink
    ]
)
assert len(_RGB) == len(COLOURS)  # noqa: S101 - a table and its names


def _disc(x: Float64Array, y: Float64Array) -> Float64Array:
    return np.hypot(x, y) - 0.9


def _box(x: Float64Array, y: Float64Array, half_x: float, half_y: float) -> Float64Array:
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def _square(x: Float64Array, y: Float64Array) -> Float64Array:
    return _box(x, y, 0.76, 0.76)


def _triangle(x: Float64Array, y: Float64Array) -> Float64Array:
    return np.maximum(np.abs(x) * 0.87 - y * 0.5, y) - 0.52


def _diamond(x: Float64Array, y: Float64Array) -> Float64Array:
    return (np.abs(x) * 1.25 + np.abs(y) * 0.85 - 0.85) * 0.75


def _star(x: Float64Array, y: Float64Array) -> Float64Array:
    wave = np.abs((np.arctan2(x, -y) * 5 / (2 * np.pi)) % 1 - 0.5) * 2
    return (np.hypot(x, y) - (0.42 + 0.65 * wave)) * 0.7


def _cross(x: Float64Array, y: Float64Array) -> Float64Array:
    return np.minimum(_box(x, y, 0.95, 0.30), _box(x, y, 0.30, 0.95))


def _ring(x: Float64Array, y: Float64Array) -> Float64Array:
    return np.abs(np.hypot(x, y) - 0.70) - 0.25


def _moon(x: Float64Array, y: Float64Array) -> Float64Array:
    return np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.60, y))


_DISTANCES: tuple[Callable[[Float64Array, Float64Array], Float64Array], ...] = (
    _disc,
    _square,
    _triangle,
    _diamond,
    _star,
    _cross,
    _ring,
    _moon,
)


def draw(concepts: Int64Array, rng: np.random.Generator) -> ByteArray:
    """One image per concept.

    Args:
        concepts: int64 [B], concept numbers.
        rng: source of all nuisance. The same state and concepts give the same bytes.

    Returns:
        uint8 [B, H, W, 3], red, green, blue.
    """
    count = len(concepts)
    shape, colour, texture = concept_parts(concepts)
    radius = rng.uniform(*RADIUS, size=count)
    x_BHW, y_BHW = _centred(rng.uniform(-SHIFT, SHIFT, size=(count, 2)))
    angle = rng.uniform(-TURN, TURN, size=count)[:, None, None]
    x_turned = (np.cos(angle) * x_BHW + np.sin(angle) * y_BHW) / radius[:, None, None]
    y_turned = (np.cos(angle) * y_BHW - np.sin(angle) * x_BHW) / radius[:, None, None]
    distance = np.empty((count, SIDE, SIDE))
    for number, measure in enumerate(_DISTANCES):
        rows = np.flatnonzero(shape == number)
        distance[rows] = measure(x_turned[rows], y_turned[rows])
    cover_BHW = _coverage(distance * radius[:, None, None])
    paint = (_RGB[colour] + rng.normal(scale=TINT, size=(count, 3))).clip(0.03, 1)
    ink_BHW = _ink(texture, x_turned * radius[:, None, None], y_turned * radius[:, None, None], rng)
    foreground = paint[:, None, None, :] * ink_BHW[..., None]
    canvas = _background(count, rng)
    canvas += (foreground - canvas) * cover_BHW[..., None]
    canvas += rng.normal(scale=NOISE, size=canvas.shape)
    return np.asarray((canvas.clip(0, 1) * 255).round(), dtype=np.uint8)


def _centred(centre_B2: Float64Array) -> tuple[Float64Array, Float64Array]:
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    x = np.broadcast_to(axis[None, None, :] - centre_B2[:, 0, None, None], (len(centre_B2), SIDE, SIDE))
    y = np.broadcast_to(axis[None, :, None] - centre_B2[:, 1, None, None], (len(centre_B2), SIDE, SIDE))
    return x, y


def _coverage(pixels: Float64Array) -> Float64Array:
    """Share of a pixel that lies inside, from the distance of its centre in pixels."""
    return (0.5 - pixels).clip(0, 1)


def _ink(texture: Int64Array, x: Float64Array, y: Float64Array, rng: np.random.Generator) -> Float64Array:
    """Brightness over the shape: plain, dark stripes, or dark dots, with a random phase. `x` and `y` are in pixels."""
    phase = rng.uniform(0, 2 * np.pi, size=(2, len(texture)))[..., None, None]
    stripes = np.sin(x * (2 * np.pi / 4.5) + phase[0]) > 0.1
    dots = (np.sin(x * (2 * np.pi / 5.0) + phase[0]) > 0.0) & (np.sin(y * (2 * np.pi / 5.0) + phase[1]) > 0.0)
    dark = np.where((texture == 1)[:, None, None], stripes, (texture == 2)[:, None, None] & dots)
    return np.where(dark, 0.30, 1.0)


def _background(count: int, rng: np.random.Generator) -> Float64Array:
    """A grey, slightly tinted slope with small coloured discs on it."""
    base = rng.uniform(0.10, 0.85, size=(count, 1)) + rng.normal(scale=0.03, size=(count, 3))
    slope = rng.uniform(-0.006, 0.006, size=(count, 2))
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    ramp = slope[:, 0, None, None] * axis[None, None, :] + slope[:, 1, None, None] * axis[None, :, None]
    canvas: Float64Array = (base[:, None, None, :] + ramp[..., None]).clip(0, 1)
    for _ in range(CLUTTER):
        x, y = _centred(rng.uniform(-SIDE / 2, SIDE / 2, size=(count, 2)))
        spot = _coverage(np.hypot(x, y) - rng.uniform(0.0, 2.2, size=count)[:, None, None])
        paint = _RGB[rng.integers(len(COLOURS), size=count)]
        canvas += (paint[:, None, None, :] - canvas) * spot[..., None]
    return canvas
