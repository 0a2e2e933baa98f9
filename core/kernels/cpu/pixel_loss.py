"""Softmax cross entropy of many pixels with few classes: vectors of pixels, not of classes.

A block of pixels is brought into a buffer (C, pixels) from either memory layout; what follows is
the same for both, and reads each value of the input from memory once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types

from core.kernels.cpu.exponential import exp_negative, log
from core.kernels.cpu.flat import RESULT, VALUES
from core.kernels.cpu.tile import clear, copy
from core.kernels.cpu.vector import CHECKED, CHECKSUM, FASTMATH


class Layout(NamedTuple):
    """Where the value of a class at a pixel lies: a few planes of pixels, and the steps."""

    plane: int
    image_step: int
    class_step: int
    pixel_step: int


# Pixels of a block.
BLOCK = 64

_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": FASTMATH, "boundscheck": CHECKED}
_INT = types.int64
_LABELS = types.Array(types.int64, 1, "C", readonly=True)
_LAYOUT = types.NamedUniTuple(types.int64, len(Layout._fields), Layout)


@njit(**_OPTIONS)
def _gather(x, layout, block, classes, buffer):  # type: ignore[no-untyped-def]
    """buffer (C, BLOCK) of this block's pixels; the first pixel, how many, the first value."""
    each = -(-layout.plane // BLOCK)
    image, place = block // each, block % each * BLOCK
    count = min(BLOCK, layout.plane - place)
    start = image * layout.image_step + place * layout.pixel_step
    for c in range(classes):
        first = start + c * layout.class_step
        if layout.pixel_step == 1:
            copy(buffer, c * BLOCK, x, first, count)
        else:
            for p in range(count):
                buffer[c * BLOCK + p] = x[first + p * layout.pixel_step]
    return image * layout.plane + place, count, start


@cache
def forward_kernel() -> Callable[..., float]:
    """kernel(x, layout, labels, weights, losses, norms, ignored, smoothing, first, last block)."""
    return _forward(CHECKSUM)


def _forward(checksum: int) -> Callable[..., float]:
    @njit(
        types.float64(
            VALUES, _LAYOUT, _LABELS, VALUES, RESULT, RESULT, _INT, types.float64, _INT, _INT
        ),
        cache=True,
        **_OPTIONS,
    )
    def kernel(x, layout, labels, weights, losses, norms, ignored, smoothing, block0, block1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        classes = len(weights)
        buffer = np.zeros(classes * BLOCK, np.float32)
        peaks, sums = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
        spread, sharp, total = np.float32(smoothing / classes), np.float32(1 - smoothing), 0.0
        for block in range(block0, block1):
            pixel0, count, _ = _gather(x, layout, block, classes, buffer)
            copy(peaks, 0, buffer, 0, BLOCK)
            for c in range(1, classes):
                row = buffer[c * BLOCK : (c + 1) * BLOCK]
                for p in range(BLOCK):
                    peaks[p] = row[p] if row[p] > peaks[p] else peaks[p]
            clear(sums, 0, BLOCK)
            for c in range(classes):
                row = buffer[c * BLOCK : (c + 1) * BLOCK]
                for p in range(BLOCK):
                    sums[p] += exp_negative(row[p] - peaks[p])
            for p in range(BLOCK):
                sums[p] = log(sums[p])
            for p in range(count):
                pixel, label = pixel0 + p, labels[pixel0 + p]
                norms[2 * pixel], norms[2 * pixel + 1] = peaks[p], sums[p]
                losses[pixel] = 0
                if label == ignored:
                    continue
                total += weights[label]
                # A class without weight counts nothing, even at minus infinity.
                share = sharp * weights[label]
                if share != 0:
                    losses[pixel] = share * (sums[p] - (buffer[label * BLOCK + p] - peaks[p]))
            if smoothing > 0:
                for c in range(classes):
                    share = spread * weights[c]
                    if share == 0:
                        continue
                    for p in range(count):
                        if labels[pixel0 + p] != ignored:
                            gap = sums[p] - (buffer[c * BLOCK + p] - peaks[p])
                            losses[pixel0 + p] += share * gap
        return total

    return kernel


@cache
def backward_kernel() -> Callable[..., None]:
    """kernel(x, layout, labels, weights, gy, norms, gx, ignored, smoothing, first, last block)."""
    return _backward(CHECKSUM)


def _backward(checksum: int) -> Callable[..., None]:
    @njit(
        types.void(
            VALUES, _LAYOUT, _LABELS, *[VALUES] * 3, RESULT, _INT, types.float64, _INT, _INT
        ),
        cache=True,
        **_OPTIONS,
    )
    def kernel(x, layout, labels, weights, gy, norms, gx, ignored, smoothing, block0, block1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        classes = len(weights)
        buffer = np.zeros(classes * BLOCK, np.float32)
        peaks, sums = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
        whole, slopes = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32)
        spread, sharp = np.float32(smoothing / classes), np.float32(1 - smoothing)
        weight = np.float32(0)
        for c in range(classes):
            weight += weights[c]
        for block in range(block0, block1):
            pixel0, count, start = _gather(x, layout, block, classes, buffer)
            for p in range(count):
                pixel, label = pixel0 + p, labels[pixel0 + p]
                peaks[p], sums[p], slopes[p] = norms[2 * pixel], norms[2 * pixel + 1], gy[pixel]
                if label != ignored:
                    whole[p] = slopes[p] * (sharp * weights[label] + spread * weight)
            for c in range(classes):
                row, share = buffer[c * BLOCK : (c + 1) * BLOCK], spread * weights[c]
                for p in range(BLOCK):
                    power = exp_negative((row[p] - peaks[p]) - sums[p])
                    row[p] = power * whole[p] - slopes[p] * share
            for p in range(count):
                label = labels[pixel0 + p]
                if label == ignored:
                    for c in range(classes):
                        buffer[c * BLOCK + p] = 0
                else:
                    buffer[label * BLOCK + p] -= slopes[p] * sharp * weights[label]
            for c in range(classes):
                first = start + c * layout.class_step
                if layout.pixel_step == 1:
                    copy(gx, first, buffer, c * BLOCK, count)
                else:
                    for p in range(count):
                        gx[first + p * layout.pixel_step] = buffer[c * BLOCK + p]

    return kernel
