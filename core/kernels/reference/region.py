"""Pooling of regions of interest: the part of a feature map under a box, in a fixed size.

The tables (which rows and columns a bin sees, and with which weight) are small and made on
the host; one axis at a time, since boxes are aligned with the axes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.device import Array, array_module
from core.kernels.layout import (
    as_layout_of,
    channels_first,
    channels_last,
    is_channels_last,
    to_channels_last,
    zeros,
)

Edges = tuple[np.ndarray, np.ndarray]

# Values in one block of `region_align`'s half-way result.
_BLOCK = 1 << 23


def bin_edges(low: np.ndarray, high: np.ndarray, bins: int, n: int) -> Edges:
    """(start, stop), each (K, bins): the whole pixels of an axis of n in each bin of [low, high].

    Ends are rounded half away from zero and both belong to the region; bins overlap where
    sizes do not divide, and are empty outside the map (Girshick 2015, 2.1).
    """
    first, last = (np.trunc(v + np.copysign(0.5, v)).astype(np.int64) for v in (low, high))
    size = np.maximum(last - first + 1, 1)[:, None]
    i = np.arange(bins)
    start = np.floor(i * (size / bins)).astype(np.int64) + first[:, None]
    stop = np.ceil((i + 1) * (size / bins)).astype(np.int64) + first[:, None]
    return start.clip(0, n), stop.clip(0, n)


def region_max(x: Array, image: np.ndarray, rows: Edges, columns: Edges) -> tuple[Array, Array]:
    """(y (K, C, h, w), places): the largest value of each bin of each region, 0 in empty bins.

    x (N, C, H, W); `image` (K,) says which x each region looks at. `places` (K, h, w, C) is
    where in the flattened (H * W) plane it was found, -1 in empty bins.
    """
    module, view, (height, width) = array_module(x), channels_last(x), x.shape[2:]
    own = module.asarray(image)[:, None, None]
    full = ((rows[1] > rows[0])[:, :, None] & (columns[1] > columns[0])[:, None])[..., None]
    best = places = None
    for dy in range(max(1, int((rows[1] - rows[0]).max(initial=0)))):
        row = _within(rows, dy, height)
        for dx in range(max(1, int((columns[1] - columns[0]).max(initial=0)))):
            column = _within(columns, dx, width)
            piece = view[own, module.asarray(row)[:, :, None], module.asarray(column)[:, None]]
            place = module.asarray(row[:, :, None] * width + column[:, None])[..., None]
            if best is None:
                best, places = piece, module.broadcast_to(place, piece.shape)
                continue
            better = (piece > best) | module.isnan(piece)
            best = module.where(better, piece, best)
            places = module.where(better, place, places)
    filled = module.asarray(full)
    best = module.where(filled, best, x.dtype.type(0))
    return as_layout_of(channels_first(best), x), module.where(filled, places, -1)


def _within(edges: Edges, offset: int, n: int) -> np.ndarray:
    """Pixel `offset` of each bin; its last one again where the bin is smaller."""
    return np.minimum(edges[0] + offset, edges[1] - 1).clip(0, n - 1)


def region_max_backward(
    gy: Array, places: Array, image: np.ndarray, shape: tuple[int, ...]
) -> Array:
    """Gradient of `region_max` for x of `shape`: gy added where each maximum was."""
    module, (_, c, height, width) = array_module(gy), shape
    gx = zeros(shape, gy.dtype, gy)
    own, channel = module.asarray(image)[:, None, None, None], module.arange(c)
    if is_channels_last(gx):
        memory, index = channels_last(gx), (own * (height * width) + places) * c + channel
    else:
        memory, index = gx, (own * c + channel) * (height * width) + places
    found = places >= 0
    values = module.where(found, channels_last(gy), gy.dtype.type(0))
    module.add.at(memory.reshape(-1), module.where(found, index, 0).reshape(-1), values.reshape(-1))
    return gx


def sample_weights(
    low: np.ndarray, size: np.ndarray, bins: int, n: int, sampling_ratio: int
) -> np.ndarray:
    """(K, bins, n): what each pixel of an axis of n weighs in each bin of [low, low + size].

    A bin is the mean of `sampling_ratio` evenly spaced samples, or of one for each pixel begun
    where that is not positive; a sample is read by linear interpolation, and is 0 further than
    one pixel outside (He et al. 2017, 3).
    """
    weights = np.zeros((len(low), bins, n))
    each = size / bins
    counts = np.full(len(low), sampling_ratio) if sampling_ratio > 0 else np.ceil(each).astype(int)
    region, i = np.arange(len(low))[:, None], np.arange(bins)
    for sample in range(int(counts.max(initial=0))):
        share = np.where(sample < counts, 1 / np.maximum(counts, 1), 0.0)[:, None]
        inside = (sample + 0.5) / np.maximum(counts, 1)
        position = low[:, None] + (i + inside[:, None]) * each[:, None]
        share = np.where((position >= -1) & (position <= n), share, 0.0)
        position = position.clip(0, n - 1)
        first = np.floor(position).astype(np.int64)
        part = position - first
        np.add.at(weights, (region, i, first), share * (1 - part))
        np.add.at(weights, (region, i, np.minimum(first + 1, n - 1)), share * part)
    return weights


def region_align(x: Array, image: np.ndarray, rows: Array, columns: Array) -> Array:
    """rows[k] @ x[image[k], c] @ columns[k].T for each region k and channel c: (K, C, h, w)."""
    module, (_, c, height, width) = array_module(x), x.shape
    y = module.empty((len(image), rows.shape[1], columns.shape[1], c), x.dtype)
    planes = to_channels_last(x)
    for n, chosen in _regions(image, rows.shape[1] * width * c):
        chosen = module.asarray(chosen)
        part = rows[chosen].reshape(-1, height) @ planes[n].reshape(height, width * c)
        part = part.reshape(-1, rows.shape[1], width, c)
        y[chosen] = columns[chosen][:, None] @ part
    return as_layout_of(channels_first(y), x)


def region_align_backward(
    gy: Array, image: np.ndarray, rows: Array, columns: Array, shape: tuple[int, ...]
) -> Array:
    """Gradient of `region_align` for x of `shape`: the transposed products."""
    module, (n, c, height, width) = array_module(gy), shape
    gx, planes = module.zeros((n, height, width, c), gy.dtype), to_channels_last(gy)
    for n, chosen in _regions(image, rows.shape[1] * width * c):
        chosen = module.asarray(chosen)
        part = columns[chosen].swapaxes(1, 2)[:, None] @ planes[chosen]
        flat = rows[chosen].reshape(-1, height)
        gx[n] += (flat.T @ part.reshape(-1, width * c)).reshape(height, width, c)
    return as_layout_of(channels_first(gx), gy)


def _regions(image: np.ndarray, values: int) -> Iterator[tuple[int, np.ndarray]]:
    """Each image with the numbers of its regions, about `_BLOCK` values at a time."""
    step = max(1, _BLOCK // max(1, values))
    for n in np.unique(image).tolist():
        chosen = np.flatnonzero(image == n)
        for start in range(0, len(chosen), step):
            yield n, chosen[start : start + step]
