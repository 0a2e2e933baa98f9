"""Convolution, its gradients: arrays to the kernels' form, and work to threads.

One axis is two, the first of one row. Three axes go to the reference.
"""

from __future__ import annotations

import math

import numpy as np

from core.device import Array
from core.kernels import reference
from core.kernels.cpu import depthwise, scatter
from core.kernels.cpu import plan as plans
from core.kernels.cpu.cut import Plan
from core.kernels.cpu.execute import run_forward, run_weight_gradient
from core.kernels.cpu.pack import pack
from core.kernels.cpu.product import matmul
from core.kernels.layout import channels_first, to_channels_last
from core.kernels.reference.conv import Window, weight_view
from core.kernels.threads import run, scratch


def convolve(
    x: Array, weight: Array, bias: Array | None, window: Window, relu: bool = False
) -> Array:
    """As the reference; `relu` applies max(y, 0) as results are stored."""
    if not _covered(x, weight, window):
        return reference.convolve(x, weight, bias, window, relu)
    if x.ndim == 3:
        return convolve(_row(x), _row(weight), bias, _row_window(window), relu)[:, :, 0]
    if _is_product(x.shape[2:], weight.shape[2:], window):
        rows = matmul(_flat(x).reshape(len(x), -1), _stored(weight).reshape(-1, len(weight)))
        if bias is not None:
            rows += bias
        if relu:
            reference.relu_(rows)
        return rows[:, :, None, None]
    plan = plans.forward(x.shape, weight.shape, window, relu)
    g = plan.geometry
    y = np.empty((x.shape[0], g.rows, g.columns, weight.shape[0]), np.float32)
    taps = tuple(range(math.prod(weight.shape[2:])))
    if _is_depthwise(weight, window):
        _depthwise(plans.depthwise(g, len(x)), _flat(x), weight, taps, bias, y.reshape(-1))
    else:
        packed = _packed(weight, taps, plan, window.groups, transposed=False)
        run_forward(plan, _flat(x), packed, bias, y.reshape(-1))
    return channels_first(y)


def convolve_input_gradient(
    gy: Array, weight: Array, size: tuple[int, ...], window: Window
) -> Array:
    """As the reference: for each remainder modulo the stride, a convolution of gy."""
    strided = any(s > 1 and d > 1 for s, d in zip(window.stride, window.dilation, strict=True))
    if strided or not _covered(gy, weight, window):
        return reference.convolve_input_gradient(gy, weight, size, window)
    if gy.ndim == 3:
        window = _row_window(window)
        return convolve_input_gradient(_row(gy), _row(weight), (1, *size), window)[:, :, 0]
    n, c = gy.shape[0], weight.shape[1] * window.groups
    if _is_product(size, weight.shape[2:], window):
        rows = matmul(gy.reshape(n, -1), _stored(weight).reshape(-1, gy.shape[1]).T)
        return channels_first(rows.reshape(n, *size, c))
    gx, rows = np.empty((n, *size, c), np.float32), _flat(gy)
    if (plan := plans.scattered((n, c, *size), weight.shape, window)) is not None:
        _scatter(plan, rows, weight, gx.reshape(-1))
        return channels_first(gx)
    for phase in plans.input_gradient((n, c, *size), weight.shape, window):
        if _is_depthwise(weight, window):
            each = plans.depthwise(phase.plan.geometry, n)
            _depthwise(each, rows, weight, phase.taps, None, gx.reshape(-1))
            continue
        packed = _packed(weight, phase.taps, phase.plan, window.groups, transposed=True)
        run_forward(phase.plan, rows, packed, None, gx.reshape(-1))
    return channels_first(gx)


def convolve_weight_gradient(x: Array, gy: Array, kernel: tuple[int, ...], window: Window) -> Array:
    """As the reference: partial sums over ranges of pictures and rows, added in their order."""
    if not _covered(x, gy, window):
        return reference.convolve_weight_gradient(x, gy, kernel, window)
    if x.ndim == 3:
        window = _row_window(window)
        return convolve_weight_gradient(_row(x), _row(gy), (1, *kernel), window)[:, :, 0]
    k, c = gy.shape[1], x.shape[1] // window.groups
    if _is_product(x.shape[2:], kernel, window):
        total = matmul(_flat(x).reshape(len(x), -1).T, gy.reshape(len(x), -1))
    elif c == 1 and k == window.groups:
        total = _depthwise_weight_gradient(x, gy, kernel, window)
    else:
        total = _weight_gradient(x, gy, kernel, window)
    return weight_view(total.reshape(*kernel, c, k))


def _packed(
    weight: Array, taps: tuple[int, ...], plan: Plan, groups: int, transposed: bool
) -> list[np.ndarray]:
    """The packed weight of each group; that of a single one is valid until this thread packs."""
    if groups == 1:
        return [pack(weight, taps, plan, transposed)]
    each = weight.shape[0] // groups
    parts = (weight[i * each : (i + 1) * each] for i in range(groups))
    size = plan.panels * plan.tile.panel * plan.geometry.channels * len(taps)
    return [pack(part, taps, plan, transposed)[:size].copy() for part in parts]


def _weight_gradient(x: Array, gy: Array, kernel: tuple[int, ...], window: Window) -> np.ndarray:
    k, c, groups = gy.shape[1], x.shape[1] // window.groups, window.groups
    plan = plans.weight_gradient(x.shape, (k, c, *kernel), window)
    return run_weight_gradient(plan, _flat(x), _flat(gy), math.prod(kernel) * c * k, groups)


def _scatter(plan: Plan, gy: np.ndarray, weight: Array, gx: np.ndarray) -> None:
    kernel, k = scatter.kernel(*plan.tile), weight.shape[0]
    # All kernel positions and channels as the channels of one position.
    matrix = weight_view(_stored(weight).reshape(1, 1, -1, k))
    packed = pack(matrix, (0,), plan, transposed=True)

    def task(i: int) -> None:
        block, chunk = scratch("block", plan.scratch), plan.chunks[i]
        kernel(gy, packed, gx, block, plan.geometry, plan.panels, chunk.block0, chunk.block1)

    run(task, len(plan.chunks))


def _depthwise(
    plan: Plan,
    x: np.ndarray,
    weight: Array,
    taps: tuple[int, ...],
    bias: Array | None,
    y: np.ndarray,
) -> None:
    kernel, g = depthwise.forward_kernel(plan.tile.rows), plan.geometry
    w = _stored(weight).reshape(-1, g.channels)[list(taps)].reshape(-1)
    start = np.zeros(g.channels, np.float32)
    if bias is not None:
        start[:] = bias

    def task(i: int) -> None:
        block = scratch("block", plan.scratch)
        kernel(x, w, start, y, block, g, plan.chunks[i].block0, plan.chunks[i].block1)

    run(task, len(plan.chunks))


def _depthwise_weight_gradient(
    x: Array, gy: Array, kernel: tuple[int, ...], window: Window
) -> np.ndarray:
    forward = plans.forward(x.shape, (gy.shape[1], 1, *kernel), window, False)
    plan = plans.depthwise(forward.geometry, len(x))
    kernel_of = depthwise.weight_gradient_kernel(kernel[1])
    parts = np.zeros((plan.parts, math.prod(kernel) * x.shape[1]), np.float32)
    pixels, rows = _flat(x), _flat(gy)

    def task(i: int) -> None:
        block, chunk = scratch("block", plan.scratch), plan.chunks[i]
        kernel_of(pixels, rows, parts[i], block, plan.geometry, chunk.block0, chunk.block1)

    run(task, len(plan.chunks))
    return parts.sum(axis=0)


def _covered(x: Array, other: Array, window: Window) -> bool:
    return (
        x.ndim in (3, 4) and x.dtype == np.float32 == other.dtype and x.size > 0 and other.size > 0
    )


def _is_depthwise(weight: Array, window: Window) -> bool:
    return weight.shape[1] == 1 and weight.shape[0] == window.groups > 1


def _is_product(size: tuple[int, ...], kernel: tuple[int, ...], window: Window) -> bool:
    """Whether the kernel lies on all of the input, in one place: a product of two matrices."""
    return size == kernel and not any(window.padding) and window.groups == 1


def _row(x: Array) -> Array:
    """(N, C, L) as (N, C, 1, L)."""
    return x[:, :, None]


def _row_window(window: Window) -> Window:
    return Window((1, *window.stride), (0, *window.padding), (1, *window.dilation), window.groups)


def _stored(weight: Array) -> np.ndarray:
    """(kh, kw, C, K), contiguous: how a weight is stored."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0))


def _flat(x: Array) -> np.ndarray:
    """(N, H, W, C), flat and writable: kernels are compiled for that kind of array alone."""
    flat = to_channels_last(x).reshape(-1)
    return flat if flat.flags.writeable else flat.copy()
