"""Arrays as kernels see them: one dimension, in the order of memory, and cut into chunks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import types

from core.device import Array
from core.kernels.layout import channels_last
from core.kernels.threads import run

# Kernels take read-only operands as they are, and write arrays of the second type.
VALUES = types.Array(types.float32, 1, "C", readonly=True)
RESULT = types.float32[::1]

# Values that are worth a call, and the most calls that one operation is cut into.
_CHUNK = 1 << 17
_MOST_CHUNKS = 16


def pixels(x: Array) -> np.ndarray | None:
    """(N, C, *S) float32 as flat (N, *S, C) without a copy; None where memory has another order."""
    if x.ndim < 2 or x.dtype != np.float32 or not x.size:
        return None
    last = channels_last(x)
    return last.reshape(-1) if last.flags.c_contiguous else None


def like_pixels(x: Array) -> np.ndarray:
    """Flat (N, *S, C) in any case, by a copy where memory has another order."""
    return np.ascontiguousarray(channels_last(x)).reshape(-1)


def order(x: Array) -> tuple[int, ...] | None:
    """The axes of x from the slowest to the fastest; None where there are gaps, or no float32."""
    if x.dtype != np.float32:
        return None
    if x.flags.c_contiguous:
        return tuple(range(x.ndim))
    axes = tuple(sorted(range(x.ndim), key=lambda axis: -x.strides[axis]))
    return axes if x.transpose(axes).flags.c_contiguous else None


def in_order(x: Array, axes: tuple[int, ...]) -> np.ndarray:
    """Flat x, its axes in this order; a copy where memory has another one."""
    return np.ascontiguousarray(x.transpose(axes)).reshape(-1)


def chunks(size: int, unit: int = 1) -> list[tuple[int, int]]:
    """Where `size` values are cut, at multiples of `unit`: it depends on nothing else."""
    units = -(-size // unit)
    count = max(1, min(_MOST_CHUNKS, units, size // _CHUNK))
    edges = [i * units // count * unit for i in range(count)]
    return list(zip(edges, [*edges[1:], size], strict=True))


def run_chunks(call: Callable[[int, int], object], parts: list[tuple[int, int]]) -> None:
    """call(first, last) for each part, on the kernels' threads."""
    run(lambda i: call(*parts[i]), len(parts))
