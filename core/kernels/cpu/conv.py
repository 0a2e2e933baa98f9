"""Convolution in two dimensions, its gradients: arrays to the kernels' form, and work to threads.

A case that the kernels do not cover (groups, other dimensions) goes to the reference.
"""

from __future__ import annotations

import math

import numpy as np

from core.device import Array
from core.kernels import reference
from core.kernels.cpu import direct, winograd
from core.kernels.cpu import plan as plans
from core.kernels.cpu.pack import pack
from core.kernels.layout import channels_first, to_channels_last
from core.kernels.reference.conv import Window, weight_view
from core.kernels.threads import run, scratch


def convolve(
    x: Array, weight: Array, bias: Array | None, window: Window, relu: bool = False
) -> Array:
    """As the reference; `relu` applies max(y, 0) as results are stored."""
    if not _covered(x, weight, window):
        return reference.convolve(x, weight, bias, window, relu)
    plan = plans.forward(x.shape, weight.shape, window, relu)
    g = plan.geometry
    y = np.empty((x.shape[0], g.rows, g.columns, g.filters), np.float32)
    taps = tuple(range(math.prod(weight.shape[2:])))
    _forward(plan, _flat(x), pack(weight, taps, plan, transposed=False), bias, y.reshape(-1))
    return channels_first(y)


def convolve_input_gradient(
    gy: Array, weight: Array, size: tuple[int, ...], window: Window
) -> Array:
    """As the reference: for each remainder modulo the stride, a convolution of gy."""
    strided = any(s > 1 and d > 1 for s, d in zip(window.stride, window.dilation, strict=True))
    if strided or not _covered(gy, weight, window):
        return reference.convolve_input_gradient(gy, weight, size, window)
    n, c = gy.shape[0], weight.shape[1]
    gx, rows = np.empty((n, *size, c), np.float32), _flat(gy)
    for phase in plans.input_gradient((n, c, *size), weight.shape, window):
        packed = pack(weight, phase.taps, phase.plan, transposed=True)
        _forward(phase.plan, rows, packed, None, gx.reshape(-1))
    return channels_first(gx)


def convolve_weight_gradient(x: Array, gy: Array, kernel: tuple[int, ...], window: Window) -> Array:
    """As the reference: partial sums over ranges of pictures and rows, added in their order."""
    if not _covered(x, gy, window):
        return reference.convolve_weight_gradient(x, gy, kernel, window)
    k, c = gy.shape[1], x.shape[1]
    plan = plans.weight_gradient(x.shape, (k, c, *kernel), window)
    kernel_of = direct.weight_gradient_kernel(*plan.tile)
    parts = np.zeros((plan.parts, math.prod(kernel) * c * k), np.float32)
    pixels, rows = _flat(x), _flat(gy)
    groups = len(plan.chunks) // plan.parts

    def task(i: int) -> None:
        part = parts[i // groups]
        kernel_of(
            pixels, rows, part, scratch("block", plan.scratch), plan.geometry, *plan.chunks[i]
        )

    run(task, len(plan.chunks))
    total = parts[0] if plan.parts == 1 else parts.sum(axis=0)
    return weight_view(total.reshape(*kernel, c, k))


def _forward(
    plan: plans.Plan, x: np.ndarray, packed: np.ndarray, bias: Array | None, y: np.ndarray
) -> None:
    kernel = (winograd if plan.winograd else direct).forward_kernel(*plan.tile)
    start = np.zeros(plan.panels * plan.tile.panel, np.float32)
    if bias is not None:
        start[: bias.size] = bias

    def task(i: int) -> None:
        kernel(x, packed, start, y, scratch("block", plan.scratch), plan.geometry, *plan.chunks[i])

    run(task, len(plan.chunks))


def _covered(x: Array, other: Array, window: Window) -> bool:
    return (
        x.ndim == 4
        and window.groups == 1
        and x.dtype == np.float32 == other.dtype
        and x.size > 0
        and other.size > 0
    )


def _flat(x: Array) -> np.ndarray:
    """(N, H, W, C), flat and writable: kernels are compiled for that kind of array alone."""
    flat = to_channels_last(x).reshape(-1)
    return flat if flat.flags.writeable else flat.copy()
