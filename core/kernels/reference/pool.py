"""Pooling over windows (book, 7.3): loops run over the kernel's positions only.

Padding is never written into memory: for each position of the kernel, `Pooling.pieces` says
which outputs see a value of the input there, and which value.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from core.device import Array, array_module
from core.kernels.layout import channels_last, empty, ufunc, zeros

Slices = tuple[slice, ...]


class Pooling(NamedTuple):
    """A window that moves over height and width."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...] = (1, 1)
    ceil_mode: bool = False

    def output_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial size of the result (may be < 1: the kernel does not fit)."""
        return tuple(self._outputs(axis, n) for axis, n in enumerate(size))

    def _outputs(self, axis: int, n: int) -> int:
        stride, padding = self.stride[axis], self.padding[axis]
        room = n + 2 * padding - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        if not self.ceil_mode:
            return room // stride + 1
        outputs = -(-room // stride) + 1
        # A window may hang over the end, but not start behind the input and its left padding.
        return outputs - 1 if (outputs - 1) * stride >= n + padding else outputs

    def pieces(self, size: tuple[int, ...]) -> Iterator[tuple[int, Slices, Slices]]:
        """For each position of the kernel: its number, the inputs under it, their outputs."""
        outputs = self.output_size(size)
        for number, position in enumerate(itertools.product(*map(range, self.kernel))):
            places = [
                self._overlap(axis, i, size[axis], outputs[axis]) for axis, i in enumerate(position)
            ]
            every = (slice(None), slice(None))
            yield number, every + tuple(p[0] for p in places), every + tuple(p[1] for p in places)

    def _overlap(self, axis: int, i: int, n: int, outputs: int) -> tuple[slice, slice]:
        """Inputs and outputs along `axis` that meet at kernel position `i`."""
        stride = self.stride[axis]
        offset = i * self.dilation[axis] - self.padding[axis]
        first = max(0, -(offset // stride))
        last = min(outputs, (n - 1 - offset) // stride + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        start = first * stride + offset
        return slice(start, start + (last - first - 1) * stride + 1, stride), slice(first, last)


def max_pool(x: Array, pooling: Pooling) -> Array:
    """The largest value of each window; NaN wins, padding never does."""
    y = empty((*x.shape[:2], *pooling.output_size(x.shape[2:])), x.dtype, x)
    y[...] = -float("inf")
    for _, inputs, outputs in pooling.pieces(x.shape[2:]):
        array_module(x).maximum(y[outputs], x[inputs], out=y[outputs])
    return y


def max_pool_positions(x: Array, pooling: Pooling) -> tuple[Array, Array]:
    """(`max_pool`, the kernel position of each maximum): the first one, or the last NaN."""
    module = array_module(x)
    y = empty((*x.shape[:2], *pooling.output_size(x.shape[2:])), x.dtype, x)
    y[...] = -float("inf")
    small = pooling.kernel[0] * pooling.kernel[1] <= 256
    positions = empty(y.shape, "uint8" if small else "int32", y)
    positions[...] = _first_positions(x, y.shape[2:], pooling)
    for number, inputs, outputs in pooling.pieces(x.shape[2:]):
        piece, best = x[inputs], y[outputs]
        better = ufunc("greater", piece, best, dtype=bool)
        better |= ufunc("isnan", piece, dtype=bool)
        # Numbers grow, so that the larger one is the later one.
        later = better.astype(positions.dtype)
        later *= number
        module.maximum(positions[outputs], later, out=positions[outputs])
        module.maximum(best, piece, out=best)
    return y, positions


def _first_positions(like: Array, outputs: tuple[int, ...], pooling: Pooling) -> Array:
    """(H', W'): the first kernel position that lies on the input, for windows full of -inf."""
    module = array_module(like)
    rows, columns = (
        -((module.arange(m) * s - p).clip(None, 0) // d)
        for m, s, p, d in zip(
            outputs, pooling.stride, pooling.padding, pooling.dilation, strict=True
        )
    )
    return rows[:, None] * pooling.kernel[1] + columns


def max_pool_backward(
    gy: Array, positions: Array, size: tuple[int, ...], pooling: Pooling
) -> Array:
    """Gradient of `max_pool` for an input of spatial `size`: gy where each maximum was."""
    gx = zeros((*gy.shape[:2], *size), gy.dtype, positions)
    for number, inputs, outputs in pooling.pieces(size):
        chosen = ufunc("equal", positions[outputs], number, dtype=bool)
        gx[inputs] += ufunc("multiply", chosen, gy[outputs], dtype=gy.dtype)
    return gx


def max_pool_indices(positions: Array, size: tuple[int, ...], pooling: Pooling) -> Array:
    """The maxima's places in the flattened (H * W) input, int64, from their kernel positions."""
    module = array_module(positions)
    places = ufunc("add", positions, 0, dtype="int64")
    within = (places // pooling.kernel[1], places % pooling.kernel[1])
    starts = tuple(
        module.arange(m) * s - p
        for m, s, p in zip(positions.shape[2:], pooling.stride, pooling.padding, strict=True)
    )
    rows = within[0] * pooling.dilation[0] + starts[0][:, None]
    return rows * size[1] + within[1] * pooling.dilation[1] + starts[1]


def avg_pool(x: Array, pooling: Pooling, divisor: Array) -> Array:
    """The sum of each window over `divisor` (H', W')."""
    y = zeros((*x.shape[:2], *pooling.output_size(x.shape[2:])), x.dtype, x)
    for _, inputs, outputs in pooling.pieces(x.shape[2:]):
        y[outputs] += x[inputs]
    y /= divisor
    return y


def avg_pool_backward(gy: Array, size: tuple[int, ...], pooling: Pooling, divisor: Array) -> Array:
    """Gradient of `avg_pool` for an input of spatial `size`."""
    share = ufunc("true_divide", gy, divisor)
    gx = zeros((*gy.shape[:2], *size), gy.dtype, gy)
    for _, inputs, outputs in pooling.pieces(size):
        gx[inputs] += share[outputs]
    return gx


def avg_pool_divisor(
    like: Array, size: tuple[int, ...], pooling: Pooling, count_padding: bool
) -> Array:
    """(H', W'): how many values each window averages; never those behind the padding."""
    module = array_module(like)
    counts = []
    for n, m, k, s, p in zip(
        size,
        pooling.output_size(size),
        pooling.kernel,
        pooling.stride,
        pooling.padding,
        strict=True,
    ):
        start = module.arange(m) * s - p
        edge = p if count_padding else 0
        counts.append((start + k).clip(None, n + edge) - start.clip(-edge, None))
    return (counts[0][:, None] * counts[1]).astype(like.dtype)


def max_unpool(x: Array, indices: Array, size: tuple[int, ...]) -> Array:
    """Zeros of spatial `size` with the values of x at `indices` of the flattened (H * W) plane."""
    y = zeros((*x.shape[:2], *size), x.dtype, x)
    # Height and width are neighbours in memory, so this writes into y.
    _rows(y)[_places(indices)] = _rows(x)
    return y


def max_unpool_backward(gy: Array, indices: Array) -> Array:
    """Gradient of `max_unpool` for its input: gy at `indices`."""
    gx = empty(indices.shape, gy.dtype, gy)
    picked = _rows(gy)[_places(indices)]
    channels_last(gx)[...] = picked.reshape(channels_last(gx).shape)
    return gx


def _rows(x: Array) -> Array:
    """(N, H * W, C); a view in either layout."""
    return channels_last(x).reshape(x.shape[0], x.shape[2] * x.shape[3], x.shape[1])


def _places(indices: Array) -> tuple[Array, Array, Array]:
    """Where the flat `indices` (N, C, *S) point to in an array (N, H * W, C)."""
    module = array_module(indices)
    n, c = indices.shape[:2]
    return module.arange(n)[:, None, None], _rows(indices), module.arange(c)
