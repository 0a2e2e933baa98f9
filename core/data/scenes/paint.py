"""How scenes are painted: backgrounds, digits as smooth bold strokes, colours, wear."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.data.scenes.dice import Dice
from core.data.scenes.text import COLOUR_NAMES

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]

RGB: dict[str, tuple[int, int, int]] = {
    "red": (215, 35, 40),
    "orange": (245, 135, 25),
    "yellow": (250, 220, 50),
    "green": (35, 160, 65),
    "blue": (40, 90, 220),
    "purple": (145, 55, 185),
    "white": (245, 245, 245),
    "black": (22, 22, 25),
}
_JITTER = 10.0
_MARGIN = 2  # cells of empty border, so that strokes at the edge of a digit's grid stay whole
_INK_LEVEL = 0.47  # of full ink; below one half, which makes the strokes bold
_RIM_LEVEL = 0.20


def paint_background(photograph: Image, size: tuple[int, int], dice: Dice) -> Floats:
    """Return a random view (H, W, 3), 0 to 255, of a photograph: crop, zoom, mirror, light."""
    from PIL.Image import Resampling

    height, width = size
    largest = min(photograph.width / width, photograph.height / height)
    zoom = min(math.exp(dice.uniform(math.log(0.9), math.log(3.2))), largest)
    left = dice.uniform(0, photograph.width - zoom * width)
    top = dice.uniform(0, photograph.height - zoom * height)
    box = (left, top, left + zoom * width, top + zoom * height)
    view = photograph.resize((width, height), Resampling.BILINEAR, box=box)
    picture = np.asarray(view).astype(np.float32)
    if dice.uniform(0, 1) < 0.5:
        picture = picture[:, ::-1]
    light = dice.uniform(0.7, 1.04)
    tint = [light * dice.uniform(0.88, 1.12) for _ in range(3)]
    return np.minimum(picture * np.array(tint, np.float32), np.float32(255))


@lru_cache(maxsize=8)
def _cubic_spline(cells: int, factor: int) -> Floats:
    """Weights (cells * factor, cells) of uniform cubic B-splines, which smooth as they enlarge."""
    at = (np.arange(cells * factor) + 0.5) / factor - 0.5
    far = np.abs(at[:, None] - np.arange(cells)[None, :])
    near = 2 / 3 - far**2 + far**3 / 2
    tail = np.clip(2 - far, 0, None) ** 3 / 6
    return np.where(far < 1, near, tail).astype(np.float32)


def _enlarge(digit: NDArray[np.uint8]) -> Floats:
    """Return a smooth field of ink, 0 to 1, on a grid of about 100 cells a side."""
    cells = digit.shape[0] + 2 * _MARGIN
    ink = np.zeros((cells, cells), np.float32)
    ink[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = digit.astype(np.float32) / np.float32(255)
    if digit.shape[0] < 16:  # so coarse that the spline blurs strokes: restore their contrast
        spread = np.pad(ink, 1)
        around = spread[:-2, 1:-1] + spread[2:, 1:-1] + spread[1:-1, :-2] + spread[1:-1, 2:]
        ink = np.float32(2.4) * ink - np.float32(0.35) * around
    weights = _cubic_spline(cells, max(1, round(96 / cells)))
    return np.einsum("ij,jk->ik", weights, np.einsum("jk,lk->jl", ink, weights))


@dataclass(frozen=True)
class Glyph:
    """A digit's strokes: coverage `ink` and a wider `rim` (h, w), 0 to 1.

    `box` (x1, y1, x2, y2) is tight around the pixels with ink of at least one half.
    """

    ink: Floats
    rim: Floats
    box: Box


def tight_box(shown: NDArray[np.bool_]) -> Box | None:
    """Return the box (x1, y1, x2, y2) around the true pixels of (H, W), None without any."""
    rows = np.flatnonzero(shown.any(axis=1))
    columns = np.flatnonzero(shown.any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _sample(field: Floats, rows: Floats, columns: Floats) -> Floats:
    """Read a field between its cells, bilinearly; beyond its border lies no ink."""
    last = field.shape[0] - 2
    inside = (rows >= 0) & (rows <= last) & (columns >= 0) & (columns <= last)
    row = np.clip(rows, 0, last).astype(np.int32)
    column = np.clip(columns, 0, last).astype(np.int32)
    down, right = rows - row, columns - column
    flat, at = field.reshape(-1), row * field.shape[1] + column
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + field.shape[1]] * (1 - right) + flat[at + field.shape[1] + 1] * right
    return (upper * (1 - down) + lower * down) * inside


def draw_glyph(digit: NDArray[np.uint8], height: float, degrees: float) -> Glyph | None:
    """Draw a digit (h, h), ink 255, with strokes about `height` pixels high, turned by `degrees`.

    Returns None when the digit has no ink.
    """
    field = _enlarge(digit)
    extent = tight_box(field > _INK_LEVEL)
    if extent is None:
        return None
    x1, y1, x2, y2 = extent
    step = (y2 - y1) / height  # cells of the field per pixel
    radius = int(math.hypot(x2 - x1, y2 - y1) / step / 2) + 4
    offsets = (np.arange(2 * radius) + 0.5 - radius).astype(np.float32) * np.float32(step)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = offsets[None, :], offsets[:, None]
    columns = np.float32(cos) * along + np.float32(sin) * across + np.float32((x1 + x2 - 1) / 2)
    rows = np.float32(cos) * across - np.float32(sin) * along + np.float32((y1 + y2 - 1) / 2)
    value = _sample(field, rows, columns)
    # An edge rises by roughly one level of ink per cell of the digit's own grid.
    cell = field.shape[0] / (digit.shape[0] + 2 * _MARGIN)
    steepness = np.float32(min(max(cell / step, 2.0), 8.0))
    ink = np.clip((value - np.float32(_INK_LEVEL)) * steepness + np.float32(0.5), 0, 1)
    rim = np.clip((value - np.float32(_RIM_LEVEL)) * steepness + np.float32(0.5), 0, 1)
    box = tight_box(ink >= 0.5)
    return None if box is None else Glyph(ink, rim, box)


def _lab(rgb: NDArray[np.floating]) -> Floats:
    """Convert sRGB (..., 3), 0 to 255, to CIE L*a*b* (D65), with gamma taken as 2.2."""
    linear = (np.asarray(rgb, np.float32) / np.float32(255)) ** np.float32(2.2)
    r, g, b = linear[..., 0], linear[..., 1], linear[..., 2]
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0891
    fx, fy, fz = (
        np.where(t > 0.008856, np.cbrt(np.maximum(t, 1e-6)), 7.787 * t + 16 / 116)
        for t in (x, y, z)
    )
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], -1).astype(np.float32)


class Contrast:
    """How far each named colour lies from a background (H, W, 3), 0 to 255."""

    _STEP = 4

    def __init__(self, picture: Floats) -> None:
        self._background = _lab(picture[:: self._STEP, :: self._STEP])
        self._colours = _lab(np.array([RGB[name] for name in COLOUR_NAMES], np.float32))

    def within(self, box: Box) -> dict[str, float]:
        """Return for each colour a distance in L*a*b* that 85 % of the box's pixels exceed."""
        x1, y1, x2, y2 = (edge // self._STEP for edge in box)
        local = self._background[y1 : y2 + 1, x1 : x2 + 1].reshape(-1, 3)
        distances = np.sqrt(((local[None] - self._colours[:, None]) ** 2).sum(-1))
        rank = int(0.15 * (distances.shape[1] - 1))
        nearest = np.partition(distances, rank, axis=1)[:, rank]
        return {name: float(far) for name, far in zip(COLOUR_NAMES, nearest, strict=True)}


def paint_glyph(
    picture: Floats, glyph: Glyph, left: int, top: int, colour: str, dice: Dice
) -> None:
    """Paint a glyph into (H, W, 3) in place, its tight box's corner at (left, top).

    A faint rim, dark around bright colours and light around dark ones, sets it off.
    """
    shade = np.array([v + dice.uniform(-_JITTER, _JITTER) for v in RGB[colour]], np.float32)
    bright = float(shade @ np.array([0.299, 0.587, 0.114], np.float32)) > 110
    rim_colour = np.float32(20 if bright else 235)
    strength = np.float32(dice.uniform(0.35, 0.7))
    y, x = top - glyph.box[1], left - glyph.box[0]
    height, width = glyph.ink.shape
    rows = slice(max(y, 0), min(y + height, picture.shape[0]))
    columns = slice(max(x, 0), min(x + width, picture.shape[1]))
    inner = (
        slice(rows.start - y, rows.stop - y),
        slice(columns.start - x, columns.stop - x),
    )
    area = picture[rows, columns]
    area += (rim_colour - area) * (glyph.rim[inner] * strength)[..., None]
    area += (shade - area) * glyph.ink[inner][..., None]


def wear(picture: Floats, dice: Dice) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) as a camera would: slightly blurred, with some noise."""
    side = np.float32(dice.uniform(0.0, 0.16))
    for axis in (0, 1):
        first, last = np.take(picture, [0], axis), np.take(picture, [-1], axis)
        spread = np.concatenate([first, picture, last], axis)
        ahead = spread[2:] if axis == 0 else spread[:, 2:]
        behind = spread[:-2] if axis == 0 else spread[:, :-2]
        picture = picture * (1 - 2 * side) + (ahead + behind) * side
    grain = np.float32(dice.uniform(1.0, 6.0))
    noisy = picture + dice.noise(picture.shape) * grain
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
