"""Softmax with cross entropy: one pass forward, one backward, nothing of the input's size between.

Values are flat (pixels, C). Exponentials are taken of whole blocks of pixels, so that their
loop is long however few classes there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import RESULT, VALUES, chunks, pixels, run_chunks
from core.kernels.cpu.vector import FASTMATH
from core.kernels.layout import empty

_INT = types.int64
_LABELS = types.Array(types.int64, 1, "C", readonly=True)
# Values in a block, at least those of one pixel; the width of a running maximum.
_BLOCK = 2048
_WIDTH = 64


def softmax_loss(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array]:
    """As the reference."""
    flat = pixels(x)
    if flat is None:
        return reference.softmax_loss(x, target, weight, ignore_index, smoothing)
    classes, labels = x.shape[1], _labels(target)
    weights = _weights(weight, classes)
    losses, norms = np.empty(labels.size, np.float32), np.empty(2 * labels.size, np.float32)
    parts = chunks(x.size, classes)
    totals, kernel = np.zeros(len(parts)), _forward()
    places = {part: i for i, part in enumerate(parts)}

    def part(start: int, stop: int) -> None:
        totals[places[start, stop]] = kernel(
            flat, labels, weights, losses, norms, ignore_index, smoothing, start, stop
        )

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
    flat = pixels(x)
    if flat is None or gy.dtype != np.float32:
        return reference.softmax_loss_backward(
            gy, x, target, weight, ignore_index, smoothing, norms
        )
    classes, labels = x.shape[1], _labels(target)
    weights = _weights(weight, classes)
    gx = empty(x.shape, np.float32, x)
    each, saved, out = np.ascontiguousarray(gy).reshape(-1), norms.reshape(-1), pixels(gx)
    kernel = _backward()

    def part(start: int, stop: int) -> None:
        kernel(flat, labels, weights, each, saved, out, ignore_index, smoothing, start, stop)

    run_chunks(part, chunks(x.size, classes))
    return gx


def _labels(target: Array) -> np.ndarray:
    return np.ascontiguousarray(target, np.int64).reshape(-1)


def _weights(weight: Array | None, classes: int) -> np.ndarray:
    if weight is None:
        return np.ones(classes, np.float32)
    return np.ascontiguousarray(weight, np.float32)


@intrinsic
def _two_to(typingctx: Any, exponent: Any) -> Any:
    """2 to the power of a whole number (int32) above -127, put together from its bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        biased = builder.add(args[0], ir.Constant(kind, 127))
        bits = builder.shl(biased, ir.Constant(kind, 23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), codegen


# exp(x) = 2^n exp(r), |r| <= log(2) / 2, where the series to r^7 is exact to 1e-8. log(2) in
# two parts: the first has few bits, so that its product with n is exact.
_LOG2E = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_LOWEST = np.float32(-87)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _exp(x):  # type: ignore[no-untyped-def]
    """exp(x) for x <= 0; 0 where it would be a subnormal number."""
    tiny = x < _LOWEST
    x = _LOWEST if tiny else x
    n = np.int32(x * _LOG2E - np.float32(0.5))
    r = (x - np.float32(n) * _LN2_HIGH) - np.float32(n) * _LN2_LOW
    series = np.float32(1 / 5040)
    series = series * r + np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    series = series * r + np.float32(0.5)
    series = series * r + np.float32(1)
    series = series * r + np.float32(1)
    return np.float32(0) if tiny else series * _two_to(n)  # type: ignore[call-arg]


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
def _forward() -> Callable[..., float]:
    @njit(
        types.float64(VALUES, _LABELS, VALUES, RESULT, RESULT, _INT, types.float64, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, labels, weights, losses, norms, ignored, smoothing, start, stop):  # type: ignore[no-untyped-def]
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
                used[i] = _exp(used[i])
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
def _backward() -> Callable[..., None]:
    @njit(
        types.void(
            VALUES, _LABELS, VALUES, VALUES, VALUES, RESULT, _INT, types.float64, _INT, _INT
        ),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, labels, weights, gy, norms, gx, ignored, smoothing, start, stop):  # type: ignore[no-untyped-def]
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
                used[i] = _exp(used[i])
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
