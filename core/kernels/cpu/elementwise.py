"""Activations and dropout: one pass where array code needs several."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu import exponential
from core.kernels.cpu.flat import RESULT, VALUES, chunks, in_order, order, run_chunks
from core.kernels.cpu.vector import CHECKSUM, FASTMATH
from core.kernels.layout import empty, is_channels_last

_INT = types.int64
_SIGMOID, _TANH, _SOFTPLUS, _ELU = range(4)
_BOOLS = types.Array(types.boolean, 1, "C", readonly=True)


def relu_backward(gy: Array, y: Array) -> Array:
    """As the reference."""
    return _leaky(gy, y, 0.0) if _covered(gy, y) else reference.relu_backward(gy, y)


def leaky_relu(x: Array, slope: float) -> Array:
    """As the reference."""
    return _leaky(x, x, slope) if _covered(x, x) else reference.leaky_relu(x, slope)


def leaky_relu_backward(gy: Array, x: Array, slope: float) -> Array:
    """As the reference."""
    if not _covered(gy, x):
        return reference.leaky_relu_backward(gy, x, slope)
    return _leaky(gy, x, slope)


def sigmoid(x: Array) -> Array:
    """As the reference."""
    return _apply(_SIGMOID, x) if _covered(x, x) else reference.sigmoid(x)


def sigmoid_backward(gy: Array, y: Array) -> Array:
    """As the reference."""
    return _slope(_SIGMOID, gy, y) if _covered(gy, y) else reference.sigmoid_backward(gy, y)


def tanh(x: Array) -> Array:
    """As the reference."""
    return _apply(_TANH, x) if _covered(x, x) else reference.tanh(x)


def tanh_backward(gy: Array, y: Array) -> Array:
    """As the reference."""
    return _slope(_TANH, gy, y) if _covered(gy, y) else reference.tanh_backward(gy, y)


def elu(x: Array, alpha: float) -> Array:
    """As the reference."""
    return _apply(_ELU, x, alpha) if _covered(x, x) else reference.elu(x, alpha)


def elu_backward(gy: Array, x: Array, alpha: float) -> Array:
    """As the reference."""
    if not _covered(gy, x):
        return reference.elu_backward(gy, x, alpha)
    return _slope(_ELU, gy, x, alpha)


def softplus(x: Array) -> Array:
    """As the reference."""
    return _apply(_SOFTPLUS, x) if _covered(x, x) else reference.softplus(x)


def dropout_mask(shape: tuple[int, ...], p: float, key: int, first: int, like: Array) -> Array:
    """As the reference, counted in C order, but in the memory order of `like`."""
    size = math.prod(shape)
    if not size:
        return reference.dropout_mask(shape, p, key, first, like)
    mask = empty(shape, bool, like)
    last = is_channels_last(mask)
    plane, channels = (math.prod(shape[2:]), shape[1]) if last else (1, size)
    flat = (mask.transpose(0, *range(2, mask.ndim), 1) if last else mask).reshape(-1)
    threshold, kernel = min(int(p * 2.0**32), 2**32 - 1), _mask_kernel()
    run_chunks(
        lambda a, b: kernel(flat, plane, channels, key, first, threshold, a, b),
        chunks(size, channels if last else 1),
    )
    return mask


def dropout(x: Array, mask: Array, scale: float) -> Array:
    """As the reference."""
    axes = order(x)
    if axes is None or mask.shape != x.shape or mask.dtype != bool:
        return reference.dropout(x, mask, scale)
    y = np.empty_like(x)
    kernel, values, kept, out = _dropout_kernel(), in_order(x, axes), in_order(mask, axes), _out(y)
    run_chunks(lambda a, b: kernel(values, kept, out, scale, a, b), chunks(x.size))
    return y


def _covered(values: Array, x: Array) -> bool:
    return values.shape == x.shape and values.dtype == np.float32 and order(x) is not None


def _leaky(values: Array, x: Array, slope: float) -> Array:
    """values where x is positive, slope * values elsewhere, in the memory order of x."""
    axes = order(x)
    assert axes is not None
    y = np.empty_like(x)
    kernel, a, b, out = _leaky_kernel(), in_order(values, axes), in_order(x, axes), _out(y)
    run_chunks(lambda first, last: kernel(a, b, out, slope, first, last), chunks(x.size))
    return y


def _apply(function: int, x: Array, factor: float = 0.0) -> Array:
    """A function of each value, in the memory order of x."""
    axes = order(x)
    assert axes is not None
    y = np.empty_like(x)
    kernel, values, out = _function_kernel(function, CHECKSUM), in_order(x, axes), _out(y)
    run_chunks(lambda a, b: kernel(values, out, factor, a, b), chunks(x.size))
    return y


def _slope(function: int, gy: Array, kept: Array, factor: float = 0.0) -> Array:
    """gy times the slope of a function at what the forward pass kept, in its memory order."""
    axes = order(kept)
    assert axes is not None
    gx = np.empty_like(kept)
    kernel, out = _slope_kernel(function, CHECKSUM), _out(gx)
    a, b = in_order(gy, axes), in_order(kept, axes)
    run_chunks(lambda first, last: kernel(a, b, out, factor, first, last), chunks(gx.size))
    return gx


def _out(y: Array) -> np.ndarray:
    axes = order(y)
    assert axes is not None
    return y.transpose(axes).reshape(-1)


@cache
def _function_kernel(function: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(VALUES, RESULT, types.float64, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, y, factor, start, stop):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        x, y, scale = x[start:stop], y[start:stop], np.float32(factor)
        for i in range(len(y)):
            if function == _SIGMOID:
                y[i] = exponential.sigmoid(x[i])
            elif function == _TANH:
                y[i] = exponential.tanh(x[i])
            elif function == _SOFTPLUS:
                y[i] = exponential.softplus(x[i])
            else:
                low = np.float32(0) if x[i] > 0 else x[i]
                y[i] = x[i] if x[i] > 0 else scale * exponential.expm1(low)

    return kernel


@cache
def _slope_kernel(function: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(VALUES, VALUES, RESULT, types.float64, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(gy, kept, gx, factor, start, stop):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        gy, kept, gx = gy[start:stop], kept[start:stop], gx[start:stop]
        scale, one = np.float32(factor), np.float32(1)
        for i in range(len(gx)):
            value = kept[i]
            if function == _SIGMOID:
                gx[i] = gy[i] * (value * (one - value))
            elif function == _TANH:
                gx[i] = gy[i] * (one - value * value)
            else:
                low = np.float32(0) if value > 0 else value
                slope = one if value > 0 else scale * exponential.exp(low)
                gx[i] = gy[i] * slope

    return kernel


@cache
def _leaky_kernel() -> Callable[..., None]:
    @njit(
        types.void(VALUES, VALUES, RESULT, types.float64, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(values, x, y, slope, start, stop):  # type: ignore[no-untyped-def]
        values, x, y = values[start:stop], x[start:stop], y[start:stop]
        factor, one = np.float32(slope), np.float32(1)
        for i in range(len(y)):
            y[i] = values[i] * (one if x[i] > 0 else factor)

    return kernel


@cache
def _dropout_kernel() -> Callable[..., None]:
    @njit(
        types.void(VALUES, _BOOLS, RESULT, types.float64, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, mask, y, scale, start, stop):  # type: ignore[no-untyped-def]
        x, mask, y = x[start:stop], mask[start:stop], y[start:stop]
        factor, zero = np.float32(scale), np.float32(0)
        for i in range(len(y)):
            y[i] = x[i] * (factor if mask[i] else zero)

    return kernel


@cache
def _mask_kernel() -> Callable[..., None]:
    @njit(
        types.void(
            types.boolean[::1],
            _INT,
            _INT,
            types.uint32,
            types.uint64,
            types.uint32,
            _INT,
            _INT,
        ),
        cache=True,
        nogil=True,
    )
    def kernel(mask, plane, channels, key, first, threshold, start, stop):  # type: ignore[no-untyped-def]
        """Flat (N, plane, channels), counted as (N, channels, plane)."""
        low, golden = np.uint64(0xFFFFFFFF), np.uint32(0x9E3779B9)
        a, b = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
        for place in range(start - start % channels, stop, channels):
            pixel = place // channels
            image = pixel // plane
            counter0 = first + np.uint64(image * channels * plane + pixel % plane)
            begin, end = max(start, place) - place, min(stop - place, channels)
            target = mask[place + begin : place + end]
            counter0 += np.uint64(begin * plane)
            for c in range(len(target)):
                counter = counter0 + np.uint64(c * plane)
                h = np.uint32(np.uint32(counter & low) ^ key)
                for word in range(2):
                    h = np.uint32(h ^ (h >> np.uint32(16)))
                    h = np.uint32(h * a)
                    h = np.uint32(h ^ (h >> np.uint32(13)))
                    h = np.uint32(h * b)
                    h = np.uint32(h ^ (h >> np.uint32(16)))
                    if word == 0:
                        h = np.uint32(h ^ np.uint32(counter >> np.uint64(32)) ^ golden)
                target[c] = h >= threshold

    return kernel
