"""The inverse of max pooling over channels-last pictures: values back to where they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import RESULT, VALUES, chunks, pixels, run_chunks
from core.kernels.layout import channels_first, channels_last

_INT = types.int64
_PLACES = types.Array(types.int64, 1, "C", readonly=True)


def max_unpool(x: Array, indices: Array, size: tuple[int, ...]) -> Array:
    """As the reference."""
    flat, places = pixels(x), _places(indices)
    if flat is None or places is None:
        return reference.max_unpool(x, indices, size)
    n, c = x.shape[:2]
    y = np.zeros((n, *size, c), np.float32)
    kernel, out = _unpool(), y.reshape(-1)
    sizes = (math.prod(x.shape[2:]), size[0] * size[1], c)
    # Indices may point anywhere in a picture, so threads do not share one.
    pictures = [(a // x[0].size, b // x[0].size) for a, b in chunks(x.size, x[0].size)]
    run_chunks(lambda a, b: kernel(flat, places, out, *sizes, a, b), pictures)
    return channels_first(y)


def max_unpool_backward(gy: Array, indices: Array) -> Array:
    """As the reference."""
    flat, places = pixels(gy), _places(indices)
    if flat is None or places is None:
        return reference.max_unpool_backward(gy, indices)
    n, c = gy.shape[:2]
    gx = np.empty(channels_last(indices).shape, np.float32)
    kernel, out = _unpool_backward(), gx.reshape(-1)
    sizes = (gx.size // (n * c), gy.shape[2] * gy.shape[3], c)
    run_chunks(lambda a, b: kernel(flat, places, out, *sizes, a, b), chunks(gx.size, c))
    return channels_first(gx)


def _places(indices: Array) -> np.ndarray | None:
    last = channels_last(indices)
    usable = indices.dtype == np.int64 and last.flags.c_contiguous and indices.size > 0
    return last.reshape(-1) if usable else None


@cache
def _unpool() -> Callable[..., None]:
    @njit(types.void(VALUES, _PLACES, RESULT, *[_INT] * 5), cache=True, nogil=True)
    def kernel(x, places, y, pixels, plane, channels, first, last):  # type: ignore[no-untyped-def]
        for pixel in range(first * pixels, last * pixels):
            begin = pixel * channels
            values, where = x[begin : begin + channels], places[begin : begin + channels]
            base = pixel // pixels * plane * channels
            for c in range(channels):
                y[base + where[c] * channels + c] = values[c]

    return kernel


@cache
def _unpool_backward() -> Callable[..., None]:
    @njit(types.void(VALUES, _PLACES, RESULT, *[_INT] * 5), cache=True, nogil=True)
    def kernel(gy, places, gx, pixels, plane, channels, start, stop):  # type: ignore[no-untyped-def]
        for pixel in range(start // channels, stop // channels):
            begin = pixel * channels
            target, where = gx[begin : begin + channels], places[begin : begin + channels]
            base = pixel // pixels * plane * channels
            for c in range(channels):
                target[c] = gy[base + where[c] * channels + c]

    return kernel
