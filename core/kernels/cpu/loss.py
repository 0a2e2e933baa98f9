"""Softmax with cross entropy: one pass forward, one backward, nothing of the input's size between.

The kernels here walk along the classes of one pixel after another, flat (pixels, C); those of
`pixel_loss` take pixels side by side, where classes are few or lie far apart in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu import pixel_loss
from core.kernels.cpu.exponential import exp_negative
from core.kernels.cpu.flat import RESULT, VALUES, chunks, pixels, run_chunks
from core.kernels.cpu.pixel_loss import BLOCK, Layout
from core.kernels.cpu.vector import CHECKSUM, FASTMATH
from core.kernels.layout import empty

_INT = types.int64
_LABELS = types.Array(types.int64, 1, "C", readonly=True)
# Values in a block, at least those of one pixel; the width of a running maximum.
_BLOCK = 2048
_WIDTH = 64
# Classes up to which pixels are taken side by side.
_FEW = 64


def softmax_loss(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array]:
    """As the reference."""
    flat = _flat(x)
    if flat is None:
        return reference.softmax_loss(x, target, weight, ignore_index, smoothing)
    layout, labels, weights = _side_by_side(x), _labels(target), _weights(weight, x.shape[1])
    losses, norms = np.empty(labels.size, np.float32), np.empty(2 * labels.size, np.float32)
    parts = _parts(x, layout)
    totals, places = np.zeros(len(parts)), {part: i for i, part in enumerate(parts)}
    rest = labels, weights, losses, norms, ignore_index, smoothing

    def part(start: int, stop: int) -> None:
        if layout is None:
            total = _forward(CHECKSUM)(flat, *rest, start, stop)
        else:
            total = pixel_loss.forward_kernel()(flat, layout, *rest, start, stop)
        totals[places[start, stop]] = total

    run_chunks(part, parts)
    total = np.asarray(totals.sum(), np.float32)
    return losses.reshape(target.shape), total, norms.reshape(*target.shape, 2)


def softmax_loss_backward(
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    smoothing: float,
    norms: Array,
) -> Array:
    """As the reference."""
    flat = _flat(x)
    if flat is None or gy.dtype != np.float32:
        return reference.softmax_loss_backward(
            gy, x, target, weight, ignore_index, smoothing, norms
        )
    layout, labels, weights = _side_by_side(x), _labels(target), _weights(weight, x.shape[1])
    gx = empty(x.shape, np.float32, x)
    each, saved = np.ascontiguousarray(gy).reshape(-1), norms.reshape(-1)
    rest = labels, weights, each, saved, _flat(gx), ignore_index, smoothing

    def part(start: int, stop: int) -> None:
        if layout is None:
            _backward(CHECKSUM)(flat, *rest, start, stop)
        else:
            pixel_loss.backward_kernel()(flat, layout, *rest, start, stop)

    run_chunks(part, _parts(x, layout))
    return gx


def _flat(x: Array) -> np.ndarray | None:
    """x in the order of its memory, channels-last or contiguous; None where it is neither."""
    if x.dtype != np.float32 or not x.size:
        return None
    return x.reshape(-1) if x.flags.c_contiguous else pixels(x)


def _side_by_side(x: Array) -> Layout | None:
    """How pixels lie that are taken side by side; None where classes are."""
    n, classes, plane = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    if pixels(x) is None:
        return Layout(plane, classes * plane, plane, 1)
    return Layout(n * plane, 0, 1, classes) if classes <= _FEW else None


def _parts(x: Array, layout: Layout | None) -> list[tuple[int, int]]:
    """Ranges of values, or of blocks of pixels."""
    if layout is None:
        return chunks(x.size, x.shape[1])
    blocks = x.size // (layout.plane * x.shape[1]) * -(-layout.plane // BLOCK)
    count = len(chunks(x.size, x.size // blocks))
    return [(blocks * i // count, blocks * (i + 1) // count) for i in range(count)]


def _labels(target: Array) -> np.ndarray:
    return np.ascontiguousarray(target, np.int64).reshape(-1)


def _weights(weight: Array | None, classes: int) -> np.ndarray:
    if weight is None:
        return np.ones(classes, np.float32)
    return np.ascontiguousarray(weight, np.float32)


@njit(cache=True, nogil=True)
def _peak(row, running):  # type: ignore[no-untyped-def]
    """The largest value of a row; many are compared side by side."""
    peak, first = row[0], 1
    if len(row) >= 2 * _WIDTH:
        for j in range(_WIDTH):
            running[j] = row[j]
        for place in range(_WIDTH, len(row) - _WIDTH + 1, _WIDTH):
            values = row[place : place + _WIDTH]
            for j in range(_WIDTH):
                running[j] = values[j] if values[j] > running[j] else running[j]
        for j in range(_WIDTH):
            peak = max(peak, running[j])
        first = len(row) // _WIDTH * _WIDTH
    for j in range(first, len(row)):
        peak = row[j] if row[j] > peak else peak
    return peak


@cache
def _forward(checksum: int) -> Callable[..., float]:
    @njit(
        types.float64(VALUES, _LABELS, VALUES, RESULT, RESULT, _INT, types.float64, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, labels, weights, losses, norms, ignored, smoothing, start, stop):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        classes = len(weights)
        block = max(1, _BLOCK // classes)
        buffer, running = np.empty(block * classes, np.float32), np.empty(_WIDTH, np.float32)
        spread, total = np.float32(smoothing / classes), 0.0
        sharp = np.float32(1 - smoothing)
        for pixel0 in range(start // classes, stop // classes, block):
            count = min(block, stop // classes - pixel0)
            for p in range(count):
                row = x[(pixel0 + p) * classes : (pixel0 + p + 1) * classes]
                shifted = buffer[p * classes : (p + 1) * classes]
                peak = _peak(row, running)
                norms[2 * (pixel0 + p)] = peak
                for c in range(classes):
                    shifted[c] = row[c] - peak
            used = buffer[: count * classes]
            for i in range(len(used)):
                used[i] = exp_negative(used[i])
            for p in range(count):
                pixel = pixel0 + p
                powers = buffer[p * classes : (p + 1) * classes]
                power = np.float32(0)
                for c in range(classes):
                    power += powers[c]
                log_sum = np.float32(math.log(power))
                norms[2 * pixel + 1] = log_sum
                label = labels[pixel]
                if label == ignored:
                    losses[pixel] = 0
                    continue
                row = x[pixel * classes : (pixel + 1) * classes]
                peak = norms[2 * pixel]
                # A class without weight counts nothing, even at minus infinity.
                share, loss = sharp * weights[label], np.float32(0)
                if share != 0:
                    loss = share * (log_sum - (row[label] - peak))
                if smoothing > 0:
                    for c in range(classes):
                        share = spread * weights[c]
                        if share != 0:
                            loss += share * (log_sum - (row[c] - peak))
                losses[pixel] = loss
                total += weights[label]
        return total

    return kernel


@cache
def _backward(checksum: int) -> Callable[..., None]:
    @njit(
        types.void(
            VALUES, _LABELS, VALUES, VALUES, VALUES, RESULT, _INT, types.float64, _INT, _INT
        ),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, labels, weights, gy, norms, gx, ignored, smoothing, start, stop):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        classes = len(weights)
        block = max(1, _BLOCK // classes)
        spread, sharp = np.float32(smoothing / classes), np.float32(1 - smoothing)
        weight = np.float32(0)
        for c in range(classes):
            weight += weights[c]
        for pixel0 in range(start // classes, stop // classes, block):
            pixel1 = min(pixel0 + block, stop // classes)
            for pixel in range(pixel0, pixel1):
                row = x[pixel * classes : (pixel + 1) * classes]
                target = gx[pixel * classes : (pixel + 1) * classes]
                peak, log_sum = norms[2 * pixel], norms[2 * pixel + 1]
                for c in range(classes):
                    target[c] = (row[c] - peak) - log_sum
            used = gx[pixel0 * classes : pixel1 * classes]
            for i in range(len(used)):
                used[i] = exp_negative(used[i])
            for pixel in range(pixel0, pixel1):
                target = gx[pixel * classes : (pixel + 1) * classes]
                label = labels[pixel]
                if label == ignored:
                    for c in range(classes):
                        target[c] = 0
                    continue
                slope = gy[pixel]
                whole = slope * (sharp * weights[label] + spread * weight)
                for c in range(classes):
                    target[c] = target[c] * whole - slope * spread * weights[c]
                target[label] -= slope * sharp * weights[label]

    return kernel
