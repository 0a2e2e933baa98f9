"""Large pictures in overlapping tiles: blended seams, bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.data.images import Picture
from segmentation.labels import Labels

Floats = NDArray[np.float32]


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side, evenly spread, at least `overlap` of each in the next one."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [round(start) for start in np.linspace(0, length - tile, count)]


def window(length: int, overlap: int) -> Floats:
    """Weights (length,) of a tile's pixels along a side: they rise from its ends over `overlap`."""
    from_end = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(from_end / (overlap + 1), 1).astype(np.float32)


def predict(
    probabilities: Callable[[Picture], Floats], picture: Picture, tile: int, overlap: int
) -> Labels:
    """The likeliest class (H, W) of each pixel of a picture (H, W, 3) of any size.

    `probabilities` gives (C, h, w) for a part of the picture, of `tile` pixels a side at most.
    Where tiles overlap, their probabilities are averaged, those near a tile's end less. No more
    than one row of tiles is held at a time. Raises ValueError unless 0 <= overlap < tile.
    """
    if not 0 <= overlap < tile:
        raise ValueError(f"tiles of {tile} pixels cannot overlap by {overlap}")
    height, width = picture.shape[:2]
    rows = starts(height, tile, overlap)
    labels = np.empty((height, width), np.uint8)
    band: Floats | None = None
    for top, following in zip(rows, [*rows[1:], height], strict=True):
        part = _band(probabilities, picture[top : top + tile], tile, overlap)
        if band is not None:
            part[:, : band.shape[1]] += band
        # Rows that the next tiles do not reach are done.
        labels[top:following] = part[:, : following - top].argmax(axis=0)
        band = part[:, following - top :].copy()
    return labels


def _band(
    probabilities: Callable[[Picture], Floats], strip: Picture, tile: int, overlap: int
) -> Floats:
    """The weighted probabilities (C, h, W) of a strip (h, W, 3) no higher than a tile."""
    height, width = strip.shape[:2]
    total: Floats | None = None
    for left in starts(width, tile, overlap):
        found = probabilities(strip[:, left : left + tile])
        if total is None:
            total = np.zeros((len(found), height, width), np.float32)
        weights = window(height, overlap)[:, None] * window(found.shape[2], overlap)
        total[:, :, left : left + tile] += found * weights
    assert total is not None
    return total
