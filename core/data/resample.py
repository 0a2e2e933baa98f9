"""Reading batches of pictures at other places than their own pixels; plain NumPy gathers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def windows(
    images: NDArray[Any],
    size: tuple[int, int],
    pad: int,
    fill: float,
    top: NDArray[np.intp],
    left: NDArray[np.intp],
) -> NDArray[Any]:
    """Cut a `size` window at (`top`, `left`), each (N,), out of each padded (N, C, H, W)."""
    if pad:
        images = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=fill)
    views = np.lib.stride_tricks.sliding_window_view(images, size, axis=(2, 3))
    return views[np.arange(len(images)), :, top, left]


def read_nearest(images: NDArray[Any], source: NDArray[np.float64], fill: float) -> NDArray[Any]:
    """Read (N, C, H, W) at the nearest pixel to `source` (N, 2, H', W'), x and y from 0."""
    height, width = images.shape[2:]
    column, row = np.floor(source[:, 0] + 0.5), np.floor(source[:, 1] + 0.5)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    at = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
    pixels = _gather(images, at.astype(np.intp))
    return np.where(inside[:, None], pixels, np.asarray(fill, images.dtype))


def read_bilinear(images: NDArray[Any], source: NDArray[np.float64], fill: float) -> NDArray[Any]:
    """Read (N, C, H, W) between the pixels around `source`; `fill` lies all around the picture."""
    framed = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    height, width = framed.shape[2:]
    x = np.clip(source[:, 0] + 1, 0, width - 1)
    y = np.clip(source[:, 1] + 1, 0, height - 1)
    column = np.minimum(x.astype(np.intp), width - 2)
    row = np.minimum(y.astype(np.intp), height - 2)
    right = (x - column).astype(np.float32)[:, None]
    down = (y - row).astype(np.float32)[:, None]
    at = row * width + column
    upper = _gather(framed, at) * (1 - right) + _gather(framed, at + 1) * right
    lower = _gather(framed, at + width) * (1 - right) + _gather(framed, at + width + 1) * right
    mixed = upper * (1 - down) + lower * down
    return (np.rint(mixed) if images.dtype == np.uint8 else mixed).astype(images.dtype)


def _gather(images: NDArray[Any], at: NDArray[np.intp]) -> NDArray[Any]:
    """Return pixels of (N, C, H, W) by their place `at` (N, H', W') in the flattened picture."""
    samples, channels, height, width = images.shape
    flat = images.reshape(samples * channels, height * width)
    rows = np.arange(samples * channels).reshape(samples, channels, 1, 1) * (height * width)
    return flat.reshape(-1).take(rows + at[:, None])
