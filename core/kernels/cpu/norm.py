"""Batch normalisation in two passes forward and two backward, a ReLU fused into each.

Values are flat (N, *S, C). Loops run over "lines" of so many pixels that the inner one is long
whatever the number of channels; what belongs to a channel is repeated along a line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import RESULT, VALUES, chunks, like_pixels, pixels, run_chunks
from core.kernels.cpu.vector import FASTMATH
from core.kernels.layout import empty
from core.kernels.reference.norm import gradients_by, statistics_by

_INT = types.int64
_SUMS = types.float64[:, ::1]
# Values in a line, at least, and lines whose sums are kept in float32.
_LINE = 512
_BLOCK = 16
# Pixels whose mean is near enough to that of all to take it off before squaring.
_SAMPLE = 64


def channel_sums(x: Array) -> Array:
    """As the reference."""
    flat = pixels(x)
    if flat is None:
        return reference.channel_sums(x)
    zero = np.zeros(x.shape[1])
    return _sums(flat, flat, None, zero, _sums_kernel())[0]


def bias_gradient(gy: Array) -> Array:
    """As the reference."""
    if pixels(gy) is None:
        return reference.bias_gradient(gy)
    return channel_sums(gy).astype(np.float32)


def batch_moments(x: Array) -> tuple[Array, Array]:
    """As the reference, in one pass: sums of what is left after a mean of some of the pixels."""
    flat = pixels(x)
    if flat is None:
        return reference.batch_moments(x)
    channels = x.shape[1]
    count = x.size // channels
    some = flat.reshape(count, channels)[:: max(1, count // _SAMPLE)]
    near = some.mean(axis=0).astype(np.float64)
    first, second = _sums(flat, flat, None, near, _moments_kernel()) / count
    return near + first, np.maximum(second - first * first, 0)


def scale_channels(
    x: Array,
    mean: Array,
    scale: Array,
    shift: Array | None,
    relu: bool = False,
    added: Array | None = None,
) -> Array:
    """As the reference."""
    flat = pixels(x)
    if flat is None:
        return reference.scale_channels(x, mean, scale, shift, relu, added)
    line = _line(x.shape[1])
    rows = [_repeated(v, line) for v in (mean, scale, 0 * mean if shift is None else shift)]
    y = empty(x.shape, np.float32, x)
    out, kernel, adds = pixels(y), _scale_kernel(), added is not None
    more = flat if added is None else like_pixels(added)
    run_chunks(lambda a, b: kernel(flat, more, *rows, out, adds, relu, a, b), chunks(x.size, line))
    return y


def channel_scale_backward(gy: Array, scale: Array) -> Array:
    """As the reference."""
    return scale_channels(gy, np.zeros(gy.shape[1]), scale, None)


def batch_norm_sums(
    gy: Array, x: Array, mean: Array, y: Array | None = None
) -> tuple[Array, Array]:
    """As the reference."""
    flat = pixels(x)
    if flat is None or gy.dtype != np.float32:
        return reference.batch_norm_sums(gy, x, mean, y)
    sums = _sums(like_pixels(gy), flat, y, mean, _gradient_sums_kernel())
    return sums[0], sums[1]


def batch_norm_backward(
    gy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    scale: Array,
    sums: tuple[Array, Array],
    y: Array | None = None,
) -> Array:
    """As the reference."""
    flat = pixels(x)
    if flat is None or gy.dtype != np.float32:
        return reference.batch_norm_backward(gy, x, mean, rstd, scale, sums, y)
    line, count = _line(x.shape[1]), x.size // x.shape[1]
    slope, level = -scale * rstd * rstd * sums[1] / count, -scale * sums[0] / count
    rows = [_repeated(v, line) for v in (mean, scale, slope, level)]
    gx = empty(x.shape, np.float32, x)
    gradient = like_pixels(gy)
    kept = gradient if y is None else like_pixels(y)
    out, kernel, relu = pixels(gx), _backward_kernel(), y is not None
    run_chunks(
        lambda a, b: kernel(gradient, flat, kept, *rows, out, relu, a, b), chunks(x.size, line)
    )
    return gx


def _line(channels: int) -> int:
    return channels * -(-_LINE // channels)


def _repeated(values: Array, line: int) -> np.ndarray:
    """(C,) in float32, again and again along a line."""
    return np.tile(np.asarray(values, np.float32), line // values.size)


def _sums(
    gy: np.ndarray,
    x: np.ndarray,
    y: Array | None,
    mean: Array,
    kernel: Callable[..., None],
) -> np.ndarray:
    """(2, C) float64: the two sums of a kernel, chunks added in their order."""
    line = _line(mean.size)
    parts = chunks(x.size, line)
    sums = np.zeros((len(parts), 2, line))
    row, relu = _repeated(mean, line), y is not None
    kept = gy if y is None else like_pixels(y)
    places = {part: i for i, part in enumerate(parts)}
    run_chunks(lambda a, b: kernel(gy, x, kept, row, sums[places[a, b]], relu, a, b), parts)
    return sums.sum(axis=0).reshape(2, -1, mean.size).sum(axis=1)


_SUMS_SIGNATURE = types.void(VALUES, VALUES, VALUES, VALUES, _SUMS, types.boolean, _INT, _INT)


@cache
def _sums_kernel() -> Callable[..., None]:
    @njit(_SUMS_SIGNATURE, cache=True, nogil=True, fastmath=FASTMATH)
    def kernel(gy, x, y, mean, sums, relu, start, stop):  # type: ignore[no-untyped-def]
        line = len(mean)
        for block in range(start, stop, _BLOCK * line):
            total = np.zeros(line, np.float32)
            for place in range(block, min(block + _BLOCK * line, stop), line):
                values = x[place : min(place + line, stop)]
                for j in range(len(values)):
                    total[j] += values[j]
            for j in range(line):
                sums[0, j] += total[j]

    return kernel


@cache
def _moments_kernel() -> Callable[..., None]:
    @njit(_SUMS_SIGNATURE, cache=True, nogil=True, fastmath=FASTMATH)
    def kernel(gy, x, y, mean, sums, relu, start, stop):  # type: ignore[no-untyped-def]
        line = len(mean)
        for block in range(start, stop, _BLOCK * line):
            total, square = np.zeros(line, np.float32), np.zeros(line, np.float32)
            for place in range(block, min(block + _BLOCK * line, stop), line):
                values = x[place : min(place + line, stop)]
                for j in range(len(values)):
                    centred = values[j] - mean[j]
                    total[j] += centred
                    square[j] += centred * centred
            for j in range(line):
                sums[0, j] += total[j]
                sums[1, j] += square[j]

    return kernel


@cache
def _gradient_sums_kernel() -> Callable[..., None]:
    @njit(_SUMS_SIGNATURE, cache=True, nogil=True, fastmath=FASTMATH)
    def kernel(gy, x, y, mean, sums, relu, start, stop):  # type: ignore[no-untyped-def]
        line = len(mean)
        for block in range(start, stop, _BLOCK * line):
            total, product = np.zeros(line, np.float32), np.zeros(line, np.float32)
            for place in range(block, min(block + _BLOCK * line, stop), line):
                end = min(place + line, stop)
                gradients, values, results = gy[place:end], x[place:end], y[place:end]
                for j in range(len(values)):
                    g = gradients[j]
                    if relu and not results[j] > 0:
                        g = np.float32(0)
                    total[j] += g
                    product[j] += g * (values[j] - mean[j])
            for j in range(line):
                sums[0, j] += total[j]
                sums[1, j] += product[j]

    return kernel


@cache
def _scale_kernel() -> Callable[..., None]:
    @njit(
        types.void(*[VALUES] * 5, RESULT, types.boolean, types.boolean, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, added, mean, scale, shift, y, adds, relu, start, stop):  # type: ignore[no-untyped-def]
        line = len(mean)
        for place in range(start, stop, line):
            end = min(place + line, stop)
            values, more, results = x[place:end], added[place:end], y[place:end]
            for j in range(len(values)):
                value = (values[j] - mean[j]) * scale[j] + shift[j]
                if adds:
                    value += more[j]
                results[j] = np.float32(0) if relu and value < 0 else value

    return kernel


@cache
def _backward_kernel() -> Callable[..., None]:
    @njit(
        types.void(*[VALUES] * 7, RESULT, types.boolean, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(gy, x, y, mean, scale, slope, level, gx, relu, start, stop):  # type: ignore[no-untyped-def]
        line = len(mean)
        for place in range(start, stop, line):
            end = min(place + line, stop)
            gradients, values, results = gy[place:end], x[place:end], y[place:end]
            target = gx[place:end]
            for j in range(len(values)):
                g = gradients[j]
                if relu and not results[j] > 0:
                    g = np.float32(0)
                target[j] = g * scale[j] + (values[j] - mean[j]) * slope[j] + level[j]

    return kernel


_THIS = sys.modules[__name__]
batch_statistics = partial(statistics_by, _THIS)
batch_norm_gradients = partial(gradients_by, _THIS)
