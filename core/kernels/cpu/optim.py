"""Steps of optimisers in one pass over a parameter, its gradient and its state."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import RESULT, VALUES, chunks, in_order, order, run_chunks
from core.kernels.cpu.vector import FASTMATH
from core.kernels.reference.optim import AdamStep, SGDStep

_INT = types.int64
_FLOAT = types.float64


def sgd(param: Array, gradient: Array, velocity: Array | None, step: SGDStep) -> None:
    """As the reference."""
    state = (param,) if velocity is None else (param, velocity)
    axes = _order(gradient, *state)
    if axes is None:
        reference.sgd(param, gradient, velocity, step)
        return
    g, p, kernel = in_order(gradient, axes), in_order(param, axes), _sgd()
    v = np.empty(0, np.float32) if velocity is None else in_order(velocity, axes)
    run_chunks(lambda a, b: kernel(p, g, v, *step, a, b), chunks(p.size))


def adam(param: Array, gradient: Array, mean: Array, square: Array, step: AdamStep) -> None:
    """As the reference."""
    axes = _order(gradient, param, mean, square)
    if axes is None:
        reference.adam(param, gradient, mean, square, step)
        return
    g, kernel = in_order(gradient, axes), _adam()
    state = tuple(in_order(a, axes) for a in (param, mean, square))
    run_chunks(lambda a, b: kernel(g, *state, *step, a, b), chunks(g.size))


def _order(gradient: Array, *written: Array) -> tuple[int, ...] | None:
    """The axes of what is written, all in one order of memory and without gaps; None else."""
    axes = order(written[0])
    if axes is None or gradient.dtype != np.float32:
        return None
    usable = all(
        a.dtype == np.float32 and a.flags.writeable and a.transpose(axes).flags.c_contiguous
        for a in written
    )
    return axes if usable else None


@cache
def _sgd() -> Callable[..., None]:
    @njit(
        types.void(
            RESULT, VALUES, RESULT, _FLOAT, _FLOAT, _FLOAT, types.boolean, _FLOAT, _INT, _INT
        ),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(p, g, v, rate, momentum, share, nesterov, decay, start, stop):  # type: ignore[no-untyped-def]
        rate, momentum, share = np.float32(rate), np.float32(momentum), np.float32(share)
        decay = np.float32(decay)
        p, g = p[start:stop], g[start:stop]
        if len(v) == 0:
            for i in range(len(p)):
                p[i] -= rate * (g[i] + decay * p[i])
            return
        v = v[start:stop]
        ahead, direct = np.float32(0), np.float32(1)
        if nesterov:
            ahead, direct = np.float32(1), momentum
        for i in range(len(p)):
            gradient = g[i] + decay * p[i]
            v[i] = momentum * v[i] + share * gradient
            p[i] -= rate * (direct * v[i] + ahead * gradient)

    return kernel


@cache
def _adam() -> Callable[..., None]:
    @njit(
        types.void(VALUES, RESULT, RESULT, RESULT, *[_FLOAT] * 7, _INT, _INT),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
        error_model="numpy",  # a test of every divisor would keep the loop from vectors
    )
    def kernel(  # type: ignore[no-untyped-def]
        g, p, m, v, rate, beta1, beta2, root, eps, decay, shrink, start, stop
    ):
        rest1, rest2 = np.float32(1 - beta1), np.float32(1 - beta2)
        beta2, rate, eps = np.float32(beta2), np.float32(rate), np.float32(eps)
        decay, shrink = np.float32(decay), np.float32(shrink)
        scale = np.float32(1 / root)
        g, p, m, v = g[start:stop], p[start:stop], m[start:stop], v[start:stop]
        for i in range(len(p)):
            param = p[i] * shrink
            gradient = g[i] + decay * param
            m[i] += rest1 * (gradient - m[i])
            v[i] = beta2 * v[i] + rest2 * (gradient * gradient)
            p[i] = param - rate * m[i] / (math.sqrt(v[i]) * scale + eps)

    return kernel
