"""Normalisation of each sample, whole or in groups, and by neighbouring channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda.launch import THREADS, Source
from core.kernels.layout import as_layout_of, empty, is_channels_last
from core.kernels.reference import norm as reference

_SOURCE = Source("standardise.cu")
_BLOCKS = 132 * 4  # that share out the sums of rows, if there are fewer rows
_PART = 4096  # values that one block adds up, if there are as many

Rows = tuple[int, int, int]


def moments(x: Array, view: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Array, Array]:
    """See the reference."""
    kept = len(view) - len(axes)
    rows = _rows(x, view, view[:kept]) if axes == tuple(range(kept, len(view))) else None
    if rows is None:
        return reference.moments(x, view, axes)
    out = _sums("moments_of", x, rows, x)
    shape = (*view[:kept], *(1,) * len(axes))
    return out[0].reshape(shape), out[1].reshape(shape)


def standardise(x: Array, view: tuple[int, ...], mean: Array, rstd: Array) -> Array:
    """See the reference."""
    rows = _rows(x, view, mean.shape)
    if rows is None or not _float64(mean, rstd) or mean.shape != rstd.shape:
        return reference.standardise(x, view, mean, rstd)
    y = empty(x.shape, x.dtype, x)
    _SOURCE.each("standardise", x, x.size, x, y, *rows, mean, rstd)
    return y


def standardise_backward(
    gy: Array, normalised: Array, view: tuple[int, ...], rstd: Array, axes: tuple[int, ...]
) -> Array:
    """See the reference."""
    rows = _rows(normalised, view, rstd.shape)
    if rows is None or not _float64(rstd) or gy.dtype != normalised.dtype:
        return reference.standardise_backward(gy, normalised, view, rstd, axes)
    gy, gx = as_layout_of(gy, normalised), empty(gy.shape, gy.dtype, normalised)
    means = _sums("slopes_of", None, rows, gy, normalised)
    arrays = gy, normalised, gx, means.shape[1], *rows, means, rstd
    _SOURCE.each("standardise_backward", gy, gy.size, *arrays)
    return gx


def response_base(x: Array, size: int, alpha: float, k: float) -> Array:
    """See the reference."""
    step = _channel_step(x)
    if step is None:
        return reference.response_base(x, size, alpha, k)
    base = empty(x.shape, x.dtype, x)
    numbers = size, np.float64(alpha), np.float64(k)
    _SOURCE.each("response_base", x, x.size, x, base, x.shape[1], step, *numbers)
    return base


def response_norm(x: Array, base: Array, beta: float) -> Array:
    """See the reference."""
    if _channel_step(x) is None or base.dtype != x.dtype:
        return reference.response_norm(x, base, beta)
    y = empty(x.shape, x.dtype, x)
    _SOURCE.each("response_norm", x, x.size, x, as_layout_of(base, x), y, np.float64(beta))
    return y


def response_norm_backward(
    gy: Array, x: Array, base: Array, size: int, alpha: float, beta: float
) -> Array:
    """See the reference."""
    step = _channel_step(x)
    if step is None or not x.dtype == gy.dtype == base.dtype:
        return reference.response_norm_backward(gy, x, base, size, alpha, beta)
    gx, numbers = empty(x.shape, x.dtype, x), (size, np.float64(alpha), np.float64(beta))
    arrays = as_layout_of(gy, x), x, as_layout_of(base, x), gx, x.shape[1], step
    _SOURCE.each("response_norm_backward", x, x.size, *arrays, *numbers)
    return gx


def _rows(x: Array, view: tuple[int, ...], kept: Sequence[int]) -> Rows | None:
    """(P, G, K) where x in memory is (samples, P, G, K), and a row its values at a sample and G.

    `kept` is the shape of what belongs to rows: the first axes of `view`, then axes of length
    one. None where rows lie otherwise.
    """
    axes = len(kept)
    while axes and kept[axes - 1] == 1:
        axes -= 1
    front, rest = tuple(kept[:axes]), view[axes:]
    if not x.size or front != view[:axes]:
        return None
    if x.flags.c_contiguous:
        return 1, 1, math.prod(rest)
    if not is_channels_last(x) or (front and front[0] != x.shape[0]):
        return None
    if axes < 2:
        return 1, 1, math.prod(rest)
    channels, plane = x.shape[1], x.shape[2:]
    of_channels = channels // front[1], *plane
    split = rest == of_channels or (rest == plane and front[1] == channels)
    if axes == 2 and split and x.shape[0] < 65536:  # samples are the third axis of a grid
        return math.prod(plane), front[1], of_channels[0]
    return None


def _sums(kernel: str, x: Array | None, rows: Rows, *arrays: Array) -> Array:
    """(2, rows) float64: what `kernel` makes of the sums of each row; x where they are moments."""
    like, (pixels, groups, values) = arrays[0], rows
    module, count = array_module(like), like.size // (pixels * values)
    out = module.empty((2, count), np.float64)
    if groups == 1:
        blocks = max(1, min(_BLOCKS // count, -(-values // _PART)))
        threads = min(THREADS, max(32, 1 << (values // 8).bit_length()))
        partial = module.empty((count, blocks, 2), np.float64) if blocks > 1 else None
        results = count, *rows, partial, out
        _SOURCE.launch(f"{kernel}_rows", like, (count, blocks), threads, *arrays, *results)
        if blocks == 1:
            return out
    else:
        channels, samples = groups * values, count // groups
        width = min(32, 1 << (channels - 1).bit_length())
        across, at_once = -(-channels // width), THREADS // width
        down = max(1, min(2 * _BLOCKS // (across * samples), -(-pixels // (4 * at_once))))
        partial, blocks = module.empty((samples, channels, down, 2), np.float64), values * down
        grid = across, down, samples
        _SOURCE.launch(f"{kernel}_channels", like, grid, THREADS, *arrays, *rows, width, partial)
    _SOURCE.launch("finish_rows", like, count, 32, count, x, *rows, blocks, partial, out)
    return out


def _float64(*arrays: Any) -> bool:
    return all(a.dtype == np.float64 and a.flags.c_contiguous for a in arrays)


def _channel_step(x: Array) -> int | None:
    """How far apart neighbouring channels of x (N, C, *S) lie; None where memory has gaps."""
    if is_channels_last(x):
        return 1
    return math.prod(x.shape[2:]) if x.flags.c_contiguous else None
