"""Softmax, alone and with cross entropy: one pass forward, one backward."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda.launch import THREADS, Source
from core.kernels.layout import as_layout_of, empty, is_channels_last
from core.kernels.reference import activation
from core.kernels.reference import loss as reference

_SOURCE = Source("loss.cu")
_BLOCKS = 132 * 16
_READ = ("uint8", "int32", "int64")  # integers that the kernels read as they are
_FEW = 32  # classes up to which one thread takes a row that is only read


def softmax(x: Array, axis: int) -> Array:
    """See the reference."""
    return _softmax(x, axis, False)


def log_softmax(x: Array, axis: int) -> Array:
    """See the reference."""
    return _softmax(x, axis, True)


def softmax_backward(gy: Array, y: Array, axis: int) -> Array:
    """See the reference."""
    return _softmax_backward(gy, y, axis, False)


def log_softmax_backward(gy: Array, y: Array, axis: int) -> Array:
    """See the reference."""
    return _softmax_backward(gy, y, axis, True)


def softmax_loss(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array]:
    """See the reference; the norms of half precision are float32."""
    module, rows = array_module(x), _rows(x, 1)
    if rows is None:
        return reference.softmax_loss(x, target, weight, ignore_index, smoothing)
    losses, total = module.empty(target.shape, x.dtype), module.empty((), x.dtype)
    norms = module.empty((*target.shape, 2), np.promote_types(x.dtype, np.float32))
    width = _width(*rows[1:], alone=True)
    blocks, threads = _grid(rows[0], width)
    partial = module.empty(blocks, np.float64)
    given = _given(x, target, weight, ignore_index, smoothing)
    results = losses, norms, partial
    _SOURCE.launch("softmax_loss", x, blocks, threads, x, *rows, width, *given, *results)
    _SOURCE.launch("total_weight", x, 1, THREADS, partial, blocks, total)
    return losses, total, norms


def softmax_loss_backward(
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    smoothing: float,
    norms: Array,
) -> Array:
    """See the reference."""
    rows = _rows(x, 1)
    if rows is None:
        return reference.softmax_loss_backward(
            gy, x, target, weight, ignore_index, smoothing, norms
        )
    _, classes, step = rows
    gx, gy = empty(x.shape, x.dtype, x), gy.astype(x.dtype, copy=False)
    same = not any(gy.strides)  # one value for all, as the mean gives it
    each = gy if same else array_module(x).ascontiguousarray(gy)
    given = _given(x, target, weight, ignore_index, smoothing)
    arrays = each, 0 if same else 1, x, classes, step, *given, norms, gx
    _SOURCE.each("loss_backward", x, x.size, *arrays)
    return gx


def _given(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Any, ...]:
    """Labels and weights as the kernels take them."""
    module = array_module(x)
    if str(target.dtype) not in _READ:
        target = target.astype(np.int64)
    if weight is not None:
        weight = module.ascontiguousarray(weight.astype(x.dtype, copy=False))
    labels = module.ascontiguousarray(target)
    numbers = np.int64(ignore_index), np.float64(smoothing)
    return labels, target.dtype.itemsize, weight, *numbers


def _softmax(x: Array, axis: int, logarithm: bool) -> Array:
    rows = _rows(x, axis)
    if rows is None:
        return (activation.log_softmax if logarithm else activation.softmax)(x, axis)
    y = empty(x.shape, x.dtype, x)
    width = _width(*rows[1:])
    _SOURCE.launch("softmax_rows", x, *_grid(rows[0], width), x, y, *rows, width, logarithm)
    return y


def _softmax_backward(gy: Array, y: Array, axis: int, logarithm: bool) -> Array:
    rows = _rows(y, axis)
    if rows is None or gy.dtype != y.dtype:
        if logarithm:
            return activation.log_softmax_backward(gy, y, axis)
        return activation.softmax_backward(gy, y, axis)
    gy, gx, width = as_layout_of(gy, y), empty(y.shape, y.dtype, y), _width(*rows[1:])
    arrays = gy, y, gx, *rows, width, logarithm
    _SOURCE.launch("softmax_rows_backward", y, *_grid(rows[0], width), *arrays)
    return gx


def _rows(x: Array, axis: int) -> tuple[int, int, int] | None:
    """(rows, their length, the step between their values) of x along `axis`, in memory.

    None where x is empty or lies neither channels-last nor in C order.
    """
    last = is_channels_last(x)
    if not x.size or not (last or x.flags.c_contiguous):
        return None
    order = [0, *range(2, x.ndim), 1] if last else list(range(x.ndim))
    place = order.index(axis % x.ndim)
    step = math.prod(x.shape[a] for a in order[place + 1 :])
    return x.size // x.shape[axis], x.shape[axis], step


def _width(length: int, step: int, alone: bool = False) -> int:
    """How many threads take a row; `alone` lets one take a short row."""
    if step > 1 or (alone and length <= _FEW):
        return 1
    if length <= 512:
        return min(32, _power(length))
    return max(128, min(1024, _power(length // 32)))


def _grid(rows: int, width: int) -> tuple[int, int]:
    """The numbers of blocks, and of threads of each, for that many rows."""
    threads = max(THREADS, width) if width <= 32 else width
    return min(-(-rows * width // threads), _BLOCKS), threads


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(0, n - 1).bit_length()
