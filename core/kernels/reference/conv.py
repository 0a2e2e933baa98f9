"""Convolution over any number of spatial axes by im2col (book, 7.4).

Arrays are (N, C, *S) in the API and channels-last in memory. The windows of the input are a
strided view; only the matrix that enters the product is a copy, a block of samples at a time.
A weight is (K, C / groups, *kernel), best stored as (*kernel, C / groups, K).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from core.device import Array, array_module
from core.kernels.layout import channels_first, to_channels_last
from core.kernels.reference.activation import relu_

# Values in one block of the im2col matrix: small enough to stay near the processor's caches.
_BLOCK = 1 << 21


class Window(NamedTuple):
    """How a kernel moves over the input; one number for each spatial axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1

    def output_size(self, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial size of the convolution's result (may be < 1: the kernel does not fit)."""
        return tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                size, kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )


def convolve(
    x: Array, weight: Array, bias: Array | None, window: Window, relu: bool = False
) -> Array:
    """Cross-correlation, over channels c and kernel positions i.

    y[n, k, o] = bias[k] + sum of x[n, c, o * stride + i * dilation - padding] * weight[k, c, i],
    and with `relu` its positive part.
    """
    matrix, groups = _matrix(weight, window.groups), window.groups
    n, k, kernel = x.shape[0], weight.shape[0], weight.shape[2:]
    size = window.output_size(x.shape[2:], kernel)
    padded = _pad(to_channels_last(x), window.padding)
    y = array_module(x).empty((n, *size, k), x.dtype)
    for block in _blocks(n, math.prod(size) * x.shape[1] * math.prod(kernel)):
        columns = _columns(padded[block], kernel, window)
        rows = y[block].reshape(-1, groups, k // groups)
        if groups == 1:
            array_module(x).matmul(columns[0], matrix[0], out=rows[:, 0])
        else:
            rows[...] = (columns @ matrix).swapaxes(0, 1)
    if bias is not None:
        y += bias
    if relu:
        relu_(y)
    return channels_first(y)


def convolve_input_gradient(
    gy: Array, weight: Array, size: tuple[int, ...], window: Window
) -> Array:
    """Gradient of `convolve` for its input of spatial `size`: the transposed convolution of gy."""
    module = array_module(gy)
    matrix, groups = _matrix(weight, window.groups), window.groups
    n, kernel, channels = gy.shape[0], weight.shape[2:], weight.shape[1] * groups
    padded = tuple(s + 2 * p for s, p in zip(size, window.padding, strict=True))
    gx = module.zeros((n, *padded, channels), gy.dtype)
    rows = to_channels_last(gy)
    for block in _blocks(n, math.prod(gy.shape[2:]) * channels * math.prod(kernel)):
        flat = rows[block].reshape(-1, groups, gy.shape[1] // groups)
        columns = flat.swapaxes(0, 1) @ matrix.swapaxes(1, 2)
        columns = columns.reshape(groups, *rows[block].shape[:-1], *kernel, channels // groups)
        _scatter(gx[block], columns, kernel, window)
    inner = tuple(slice(p, p + s) for s, p in zip(size, window.padding, strict=True))
    return channels_first(module.ascontiguousarray(gx[(slice(None), *inner)]))


def convolve_weight_gradient(x: Array, gy: Array, kernel: tuple[int, ...], window: Window) -> Array:
    """Gradient of `convolve` for its weight, in the weight's memory order."""
    module, groups = array_module(x, gy), window.groups
    n, c, k = x.shape[0], x.shape[1], gy.shape[1]
    padded, rows = _pad(to_channels_last(x), window.padding), to_channels_last(gy)
    total = module.zeros((groups, math.prod(kernel) * c // groups, k // groups), gy.dtype)
    for block in _blocks(n, math.prod(gy.shape[2:]) * c * math.prod(kernel)):
        columns = _columns(padded[block], kernel, window)
        flat = rows[block].reshape(-1, groups, k // groups).swapaxes(0, 1)
        total += columns.swapaxes(1, 2) @ flat
    packed = total.reshape(groups, *kernel, c // groups, k // groups)
    packed = module.ascontiguousarray(
        packed.transpose(*range(1, packed.ndim - 1), 0, packed.ndim - 1)
    )
    return weight_view(packed.reshape(*kernel, c // groups, k))


def weight_view(packed: Array) -> Array:
    """The logical (K, C, *kernel) view of a weight stored as (*kernel, C, K)."""
    return packed.transpose(packed.ndim - 1, packed.ndim - 2, *range(packed.ndim - 2))


def _matrix(weight: Array, groups: int) -> Array:
    """(groups, kernel positions * C / groups, K / groups); a view of a well stored weight."""
    k = weight.shape[0]
    packed = array_module(weight).ascontiguousarray(weight.transpose(*range(2, weight.ndim), 1, 0))
    return packed.reshape(-1, groups, k // groups).swapaxes(0, 1)


def _pad(x: Array, padding: tuple[int, ...]) -> Array:
    if not any(padding):
        return x
    module = array_module(x)
    size = tuple(n + 2 * p for n, p in zip(x.shape[1:-1], padding, strict=True))
    padded = module.zeros((x.shape[0], *size, x.shape[-1]), x.dtype)
    inner = tuple(slice(p, p + n) for n, p in zip(x.shape[1:-1], padding, strict=True))
    padded[(slice(None), *inner)] = x
    return padded


def _blocks(n: int, values: int) -> Iterator[slice]:
    """Slices of samples whose im2col matrices hold about `_BLOCK` values each."""
    step = max(1, _BLOCK // max(1, values))
    return (slice(start, start + step) for start in range(0, n, step))


def _columns(padded: Array, kernel: tuple[int, ...], window: Window) -> Array:
    """(groups, rows, kernel positions * C / groups): each row is what one output position sees."""
    module, groups = array_module(padded), window.groups
    view = windows(padded, kernel, window.stride, window.dilation)
    if groups == 1:
        return module.ascontiguousarray(view).reshape(
            1, math.prod(view.shape[: len(kernel) + 1]), -1
        )
    parted = view.reshape(*view.shape[:-1], groups, view.shape[-1] // groups)
    front = module.ascontiguousarray(
        parted.transpose(parted.ndim - 2, *range(parted.ndim - 2), parted.ndim - 1)
    )
    return front.reshape(groups, math.prod(view.shape[: len(kernel) + 1]), -1)


def windows(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Array:
    """The view (N, *outputs, *kernel, C) of (N, *S, C): every place where the kernel fits."""
    size = tuple(
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:-1], kernel, stride, dilation, strict=True)
    )
    steps = x.strides[1:-1]
    return array_module(x).lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *size, *kernel, x.shape[-1]),
        (
            x.strides[0],
            *(b * s for b, s in zip(steps, stride, strict=True)),
            *(b * d for b, d in zip(steps, dilation, strict=True)),
            x.strides[-1],
        ),
    )


def _scatter(gx: Array, columns: Array, kernel: tuple[int, ...], window: Window) -> None:
    """Add columns (groups, n, *outputs, *kernel, C / groups) where they came from (col2im)."""
    spatial = len(kernel)
    size = columns.shape[2 : 2 + spatial]
    parted = gx.reshape(*gx.shape[:-1], columns.shape[0], columns.shape[-1])
    for position in itertools.product(*map(range, kernel)):
        places = tuple(
            slice(i * d, i * d + s * (n - 1) + 1, s)
            for i, d, s, n in zip(position, window.dilation, window.stride, size, strict=True)
        )
        every = (slice(None),) * (2 + spatial)
        piece = columns[(*every, *position)]
        parted[(slice(None), *places)] += piece.transpose(*range(1, 2 + spatial), 0, 2 + spatial)
