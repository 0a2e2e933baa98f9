"""Weighted sums along an axis: what interpolation and adaptive pooling have in common.

Both replace an axis of n values by one of m, each a weighted sum of a few old ones: a sparse
matrix. Its rows are stored as `Taps`; the backward pass uses the transposed matrix in the same
form, so that both directions gather and nothing is scattered.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from core.device import Array, array_module
from core.kernels.layout import channels_first, channels_last, is_channels_last


class Taps(NamedTuple):
    """A sparse (m, n) matrix: y[i] is the sum over k of weight[k, i] * x[source[k, i]].

    Both tables are (K, m); rows with fewer than K entries are filled up with weight zero.
    `n` is the length of the axis that they are read from.
    """

    source: np.ndarray
    weight: np.ndarray
    n: int

    def transposed(self) -> Taps:
        """The taps of the transposed matrix, which turn the result's gradient into the input's."""
        m = self.source.shape[1]
        used = self.weight != 0
        row = np.broadcast_to(np.arange(m), self.source.shape)[used]
        column, weight = self.source[used], self.weight[used]
        order = np.argsort(column, kind="stable")
        row, column, weight = row[order], column[order], weight[order]
        counts = np.bincount(column, minlength=self.n)
        place = np.arange(column.size) - np.repeat(np.cumsum(counts) - counts, counts)
        shape = (int(counts.max(initial=0)), self.n)
        back = Taps(np.zeros(shape, np.int64), np.zeros(shape), m)
        back.source[place, column] = row
        back.weight[place, column] = weight
        return back


def resample(x: Array, taps: tuple[Taps, ...]) -> Array:
    """x (N, C, *S) with each spatial axis replaced by the weighted sums that its taps name."""
    last = is_channels_last(x)
    y = channels_last(x) if last else x
    for axis, along in enumerate(taps, start=1 if last else 2):
        y = _gather(y, axis, along)
    return channels_first(y) if last else y


def resample_backward(gy: Array, taps: tuple[Taps, ...]) -> Array:
    """Gradient of `resample` for its input."""
    return resample(gy, tuple(t.transposed() for t in taps))


def _gather(x: Array, axis: int, taps: Taps) -> Array:
    module = array_module(x)
    shape = (-1, *(1,) * (x.ndim - 1 - axis))
    total = None
    for source, weight in zip(taps.source, taps.weight, strict=True):
        piece = x.take(module.asarray(source), axis=axis)
        if (weight != 1).any():
            piece *= module.asarray(weight.astype(x.dtype)).reshape(shape)
        total = piece if total is None else module.add(total, piece, out=total)
    return total


def average_taps(n: int, m: int) -> Taps:
    """Adaptive average pooling: bin i of m is x[floor(i n / m) : ceil((i + 1) n / m)], averaged."""
    start = np.arange(m) * n // m
    length = -(-np.arange(1, m + 1) * n // m) - start
    k = np.arange(length.max())[:, None]
    inside = k < length
    return Taps(np.where(inside, start + k, start), inside / length, n)


def nearest_taps(n: int, m: int, scale: float) -> Taps:
    """Nearest neighbour: y[i] = x[floor(i * scale)]; the same or twice the size is exact."""
    if m in (n, 2 * n):
        scale = n / m
    # float32, as PyTorch computes it: a neighbour next to an integer must be the same one.
    index = np.floor(np.arange(m, dtype=np.float32) * np.float32(scale)).astype(np.int64)
    return Taps(np.minimum(index, n - 1)[None], np.ones((1, m)), n)


def linear_taps(n: int, m: int, scale: float, align_corners: bool) -> Taps:
    """Linear interpolation at i * scale, or at (i + 0.5) * scale - 0.5 without `align_corners`."""
    position = np.arange(m) * scale if align_corners else (np.arange(m) + 0.5) * scale - 0.5
    position = position.clip(0, None)
    low = np.minimum(np.floor(position).astype(np.int64), n - 1)
    high = np.minimum(low + 1, n - 1)
    part = np.clip(position - low, 0, 1)
    return Taps(np.stack([low, high]), np.stack([1 - part, part]), n)
