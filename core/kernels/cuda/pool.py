"""Pooling and its inverse: each thread has one window, or one input, of neighbouring channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda.launch import THREADS, Source, aligned, struct
from core.kernels.layout import channels_first, channels_last, to_channels_last
from core.kernels.reference import pool as reference
from core.kernels.reference.pool import Pooling

_SOURCE = Source("pool.cu")
_MOST_ROWS = 65535  # of a grid
_MOST_POSITIONS = 256  # that fit into a byte


def max_pool(x: Array, pooling: Pooling) -> Array:
    """See the reference."""
    return _max_pool(x, pooling, None)


def max_pool_positions(x: Array, pooling: Pooling) -> tuple[Array, Array]:
    """See the reference."""
    if math.prod(pooling.kernel) > _MOST_POSITIONS:
        return reference.max_pool_positions(x, pooling)
    shape = (*x.shape[:2], *pooling.output_size(x.shape[2:]))
    positions = new(shape, np.uint8, x)
    return _max_pool(x, pooling, positions), positions


def max_pool_backward(
    gy: Array, positions: Array, size: tuple[int, ...], pooling: Pooling
) -> Array:
    """See the reference."""
    if positions.dtype != np.uint8:
        return reference.max_pool_backward(gy, positions, size, pooling)
    return _backward(gy, positions, size, pooling, None)


def max_pool_indices(positions: Array, size: tuple[int, ...], pooling: Pooling) -> Array:
    """See the reference."""
    if positions.dtype != np.uint8:
        return reference.max_pool_indices(positions, size, pooling)
    positions = dense(positions)
    indices = new(positions.shape, np.int64, positions)
    images, channels = planes(positions)
    rows, columns = positions.shape[2:]
    # The source is compiled for a dtype of values, and there are none here.
    like = array_module(positions).empty(0, np.float32)
    geometry = _geometry(size, pooling)
    arguments = (images, channels, geometry, positions, indices)
    over_rows(_SOURCE, "max_pool_indices", like, images * rows, columns * channels, *arguments)
    return indices


def avg_pool(x: Array, pooling: Pooling, divisor: Array) -> Array:
    """See the reference."""
    if divisor.dtype != x.dtype:
        return reference.avg_pool(x, pooling, divisor)
    x, divisor = dense(x), array_module(x).ascontiguousarray(divisor)
    y = new((*x.shape[:2], *pooling.output_size(x.shape[2:])), x.dtype, x)
    _over("avg_pool", x, y.shape[2:], _geometry(x.shape[2:], pooling), x, divisor, y)
    return y


def avg_pool_backward(gy: Array, size: tuple[int, ...], pooling: Pooling, divisor: Array) -> Array:
    """See the reference."""
    if divisor.dtype != gy.dtype:
        return reference.avg_pool_backward(gy, size, pooling, divisor)
    return _backward(gy, None, size, pooling, array_module(gy).ascontiguousarray(divisor))


def avg_pool_divisor(
    like: Array, size: tuple[int, ...], pooling: Pooling, count_padding: bool
) -> Array:
    """See the reference."""
    divisor = array_module(like).empty(pooling.output_size(size), like.dtype)
    arguments = (_geometry(size, pooling), count_padding, divisor)
    _SOURCE.each("avg_pool_divisor", like, divisor.size, *arguments)
    return divisor


def max_unpool(x: Array, indices: Array, size: tuple[int, ...]) -> Array:
    """See the reference; of several values for one place the last stays."""
    x = dense(x)
    y = new((*x.shape[:2], *size), x.dtype, x)
    if not x.size:
        y[...] = 0
        return y
    indices = _indices(indices, x)
    images, channels = planes(x)
    strays = array_module(x).zeros(images * channels, np.int32)
    _over("unpool", x, x.shape[2:], *x.shape[2:], *size, x, indices, y, strays)
    counts = channels, math.prod(x.shape[2:]), math.prod(size)
    _SOURCE.each("unpool_strays", x, images * channels, *counts, x, indices, strays, y)
    return y


def max_unpool_backward(gy: Array, indices: Array) -> Array:
    """See the reference."""
    gy = dense(gy)
    gx, indices = new(indices.shape, gy.dtype, gy), _indices(indices, gy)
    (images, channels), pixels = planes(gy), math.prod(gx.shape[2:])
    arguments = (images, channels, pixels, math.prod(gy.shape[2:]), gy, indices, gx)
    over_rows(_SOURCE, "unpool_backward", gy, images, pixels * channels, *arguments)
    return gx


# ---------------------------------------------------------------------------- memory


def lies_last(x: Array) -> bool:
    """Whether x (N, C, *S) lies channels-last, if perhaps in C order as well."""
    return bool(channels_last(x).flags.c_contiguous)


def dense(x: Array) -> Array:
    """x itself where it lies channels-last or in C order; else a copy in C order."""
    return x if lies_last(x) else array_module(x).ascontiguousarray(x)


def laid(x: Array, like: Array) -> Array:
    """x (N, C, *S) channels-last where `like` lies so, else in C order."""
    if lies_last(like):
        return channels_first(to_channels_last(x))
    return array_module(x).ascontiguousarray(x)


def new(shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
    """A new array, laid out as `laid` would."""
    module = array_module(like)
    if lies_last(like):
        return channels_first(module.empty((shape[0], *shape[2:], shape[1]), dtype))
    return module.empty(shape, dtype)


def planes(x: Array) -> tuple[int, int]:
    """(pictures, channels side by side): each channel of C order is a picture of its own."""
    return x.shape[:2] if lies_last(x) else (x.shape[0] * x.shape[1], 1)


def over_rows(source: Source, kernel: str, like: Array, rows: int, width: int, *args: Any) -> None:
    """Run `kernel` on a grid that has `width` threads for each of `rows` rows."""
    if rows and width:
        block = min(THREADS, -(-width // 32) * 32)
        source.launch(kernel, like, (-(-width // block), min(rows, _MOST_ROWS)), block, *args)


def _over(kernel: str, x: Array, cells: tuple[int, ...], *args: Any) -> None:
    """Run a kernel over `cells` of each picture, laid out as x; over packs of its channels."""
    images, channels = planes(x)
    lanes = 16 // x.dtype.itemsize
    packs = channels % lanes == 0 and aligned(x, *args)
    kind, lanes = ("packs", lanes) if packs else ("values", 1)
    channels //= lanes
    rows, width = images * cells[0], cells[1] * channels
    over_rows(_SOURCE, f"{kernel}_{kind}", x, rows, width, images, channels, *args)


# ---------------------------------------------------------------------------- parts


def _max_pool(x: Array, pooling: Pooling, positions: Array | None) -> Array:
    x = dense(x)
    y = new((*x.shape[:2], *pooling.output_size(x.shape[2:])), x.dtype, x)
    geometry = _geometry(x.shape[2:], pooling)
    _over("max_pool", x, y.shape[2:], geometry, np.float64(-np.inf), x, y, positions)
    return y


def _backward(
    gy: Array,
    positions: Array | None,
    size: tuple[int, ...],
    pooling: Pooling,
    divisor: Array | None,
) -> Array:
    if positions is not None:
        positions = dense(positions)
        gy = laid(gy, positions)
    gy = dense(gy)
    gx = new((*gy.shape[:2], *size), gy.dtype, gy)
    kernel, cells = "overlapping", size
    geometry = _geometry(size, pooling)
    axes = list(zip(size, pooling.kernel, pooling.stride, pooling.padding, strict=True))
    if max(pooling.dilation) == 1 and all(k <= s for _, k, s, _ in axes):
        kernel, cells = "separate", tuple(-(-(n + p) // s) for n, _, s, p in axes)
    _over(kernel, gy, cells, geometry, gy, positions, divisor, gx)
    return gx


def _geometry(size: tuple[int, ...], pooling: Pooling) -> Any:
    """The struct that says where windows lie in pictures of spatial `size`."""
    windows = (*pooling.kernel, *pooling.stride, *pooling.dilation, *pooling.padding)
    return struct((*size, *pooling.output_size(size), *windows), np.int32)


def _indices(indices: Array, like: Array) -> Array:
    """The places as the kernels read them: int64, laid out as `like`."""
    return laid(indices.astype(np.int64, copy=False), like)
