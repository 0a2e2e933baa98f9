"""Statistics of channels, batch normalisation, and biases, on rows of channels."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda.launch import THREADS, Source, aligned
from core.kernels.layout import as_layout_of, channels_first, channels_last, empty, to_channels_last
from core.kernels.reference import norm as reference
from core.kernels.reference.norm import Running

_SOURCE = Source("norm.cu")
_BLOCKS = 1056  # of a grid: 8 for each multiprocessor of a large GPU
_ROWS, _SUMMED = 4, 16  # rows that a thread goes through, and that it adds up


def is_rows(x: Array) -> bool:
    """Whether x (N, C, *S) lies in memory as rows of its channels."""
    return bool(x.flags.c_contiguous if x.ndim == 2 else channels_last(x).flags.c_contiguous)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """See the reference."""
    if not is_rows(x):
        return reference.batch_moments(x)
    statistics = _batch_statistics(x, None, None, 0.0, 0.0)
    return statistics[0], statistics[1]


def batch_statistics(
    x: Array, weight: Array | None, running: Running, momentum: float, eps: float
) -> tuple[Array, Array, Array]:
    """See the reference."""
    wide = _wide(x)
    if any(a.dtype != wide for a in running or ()):
        return reference.statistics_by(_THIS, x, weight, running, momentum, eps)
    x = _rows_of(x)
    out = _batch_statistics(x, weight, running, momentum, eps)
    return out[0], out[2], out[3]


def _batch_statistics(
    x: Array, weight: Array | None, running: Running, momentum: float, eps: float
) -> Array:
    partial, rows, channels = _partial_sums("moment", x, x)
    out = array_module(x).empty((4, channels), np.float64)
    means = (None, None) if running is None else running
    numbers = np.float64(momentum), np.float64(eps)
    factor = None if weight is None else weight.astype(_wide(x), copy=False)
    arrays = (x, partial, rows, channels, partial.shape[2], factor, *means)
    _SOURCE.launch("batch_statistics", x, channels, 128, *arrays, *numbers, out)
    return out


def given_statistics(
    mean: Array, var: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """See the reference."""
    if weight is not None and weight.dtype != mean.dtype:
        return reference.given_statistics(mean, var, weight, eps)
    out = array_module(mean).empty((4, mean.size), np.float64)
    _SOURCE.each("given_statistics", mean, mean.size, mean, var, weight, np.float64(eps), out)
    return out[0], out[2], out[3]


def scale_channels(
    x: Array,
    mean: Array,
    scale: Array,
    shift: Array | None,
    relu: bool = False,
    added: Array | None = None,
) -> Array:
    """See the reference."""
    if not is_rows(x):
        return reference.scale_channels(x, mean, scale, shift, relu, added)
    y = empty(x.shape, x.dtype, x)
    if shift is not None:
        shift = shift.astype(_wide(x), copy=False)
    if added is not None:
        added = as_layout_of(added, x)
    _over("scale", x, (x, added, y, mean, scale, shift), relu)
    return y


def channel_sums(x: Array) -> Array:
    """See the reference."""
    if not is_rows(x):
        return reference.channel_sums(x)
    return _totals(x, None, None, None)[0]


def batch_norm_gradients(
    gy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    scale: Array,
    y: Array | None,
    needs: tuple[bool, bool, bool],
    affine: Any,
) -> tuple[Array | None, Array | None, Array | None]:
    """See the reference."""
    module, channels = array_module(gy), x.shape[1]
    gy, rows = _rows_of(gy), _rows_of(x)
    seen = None if y is None else _rows_of(y)
    sums = _totals(gy, rows, mean, seen)
    gw, gb = (module.empty(channels, _wide(x)) if needed else None for needed in needs[1:])
    if gw is not None or gb is not None:
        _SOURCE.each("affine_gradients", gy, channels, sums, rstd, gw, gb)
    gw, gb = (g if g is None else g.astype(affine, copy=False) for g in (gw, gb))
    if not needs[0]:
        return None, gw, gb
    gx = empty(x.shape, x.dtype, rows)
    _over("backward", rows, (gy, rows, seen, gx, mean, rstd, scale, sums))
    return as_layout_of(gx, x), gw, gb


def channel_scale_backward(gy: Array, scale: Array) -> Array:
    """See the reference."""
    if not is_rows(gy):
        return reference.channel_scale_backward(gy, scale)
    gx = empty(gy.shape, gy.dtype, gy)
    _over("scale", gy, (gy, None, gx, None, scale, None), False)
    return gx


def add_bias(y: Array, bias: Array, relu: bool = False) -> None:
    """See the reference; with `relu` the positive part, in the same pass."""
    if is_rows(y):
        _over("bias", y, (y, bias), relu)
        return
    y += bias.reshape(1, -1, *(1,) * (y.ndim - 2))
    if relu:
        array_module(y).maximum(y, 0, out=y)


def bias_gradient(gy: Array) -> Array:
    """See the reference."""
    if not is_rows(gy):
        return gy.sum(axis=(0, *range(2, gy.ndim)))
    return channel_sums(gy).astype(gy.dtype)


def _wide(x: Array) -> Any:
    """The dtype of what belongs to a channel: that of sums of values of x."""
    return np.float64 if x.dtype == np.float64 else np.float32


def _rows_of(x: Array) -> Array:
    """x (N, C, *S), as rows of channels in memory; a copy where it is not so."""
    if is_rows(x):
        return x
    if x.ndim == 2:
        return array_module(x).ascontiguousarray(x)
    return channels_first(to_channels_last(x))


def _over(kernel: str, x: Array, arrays: tuple[Array | None, ...], *more: Any) -> None:
    """Run a kernel over the rows of x."""
    if not x.size:
        return
    form, grid = _grid(x, _ROWS, arrays)
    rows, channels = x.size // x.shape[1], x.shape[1]
    _SOURCE.launch(f"{kernel}_{form}", x, grid, THREADS, *arrays, rows, channels, *more)


def _grid(
    x: Array, rows_each: int, arrays: tuple[Array | None, ...]
) -> tuple[str, tuple[int, int]]:
    """Which form of a kernel takes x, in packs or single values, and its grid.

    A thread goes through about `rows_each` rows, more where there are very many.
    """
    channels, lanes = x.shape[1], 16 // x.dtype.itemsize
    packs = channels % lanes == 0 and aligned(*arrays)
    columns = channels // lanes if packs else channels
    at_once = THREADS // min(columns, THREADS)
    rows = x.size // channels
    down = max(1, min(-(-rows // (rows_each * at_once)), _BLOCKS))
    return "packs" if packs else "values", (down, -(-columns // THREADS))


def _totals(gy: Array, x: Array | None, mean: Array | None, y: Array | None) -> Array:
    """(2, C) float64: the sums over rows of gy and of gy * (x - mean), gy where y is positive."""
    partial, _, channels = _partial_sums("gradient", gy, gy, x, y, mean)
    out = array_module(gy).empty((2, channels), np.float64)
    _SOURCE.launch("totals", gy, channels, 128, partial, channels, partial.shape[2], out)
    return out


def _partial_sums(kernel: str, x: Array, *arrays: Array | None) -> tuple[Array, int, int]:
    """Partial sums (2, C, blocks) of rows of channels; with the number of rows and channels."""
    channels = x.shape[1]
    rows = x.size // channels
    form, grid = _grid(x, _SUMMED, arrays)
    partial = array_module(x).empty((2, channels, grid[0]), np.float64)
    _SOURCE.launch(f"{kernel}_{form}", x, grid, THREADS, *arrays, rows, channels, partial)
    return partial, rows, channels


_THIS = sys.modules[__name__]
