"""Matrix products over the kernels' threads: the BLAS itself is held at one (`start`).

Large ones are computed on the register tiles of convolution: a product is a convolution of 1x1
whose pixels are the rows. It takes half of the BLAS's time, which packs both operands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu import plan as plans
from core.kernels.cpu.execute import run_forward, run_weight_gradient
from core.kernels.cpu.flat import RESULT, VALUES
from core.kernels.cpu.pack import pack_matrix
from core.kernels.cpu.vector import FASTMATH
from core.kernels.reference.conv import Window
from core.kernels.threads import run

# Multiplications that are worth a second thread, and those of a chunk where there are many: the
# BLAS packs its operands for each one.
_SHARED = 1 << 23
_CHUNK = 1 << 24
_MOST_CHUNKS = 8
# Multiplications, rows and columns from which tiles are faster.
_TILED = 1 << 25
_LEAST_ROWS, _LEAST_COLUMNS = 128, 128
_ONE = Window((1, 1), (0, 0), (1, 1))


def matmul(a: Array, b: Array) -> Array:
    """As the reference; a product of two matrices is cut along the longer side of the result.

    Where it is cut follows from the shapes, so the bits do not depend on the threads.
    """
    return reference.matmul(a, b) if a.ndim != 2 or b.ndim != 2 else _product(a, b, None)


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    """As the reference; each part of the product gets its bias while it is in the cache."""
    return _product(x, weight.T, bias)


def _product(a: Array, b: Array, bias: Array | None) -> Array:
    (rows, inner), columns = a.shape, b.shape[1]
    if _suits_tiles(a, b):
        if a.flags.c_contiguous:
            return _rows_on_tiles(a, b, bias)
        if bias is None and a.flags.f_contiguous and b.flags.c_contiguous:
            return _sums_on_tiles(a.T, b)
    y = np.empty((rows, columns), np.float32)
    work, longer = rows * inner * columns, max(rows, columns)
    chunks = min(_MOST_CHUNKS, max(work // _CHUNK, 1 + (work >= _SHARED)), max(longer, 1))

    def task(i: int) -> None:
        part = slice(longer * i // chunks, longer * (i + 1) // chunks)
        if rows >= columns:
            _multiply(a[part], b, bias, y[part])
        else:
            _multiply(a, b[:, part], None if bias is None else bias[part], y[:, part])

    run(task, chunks)
    return y


def _suits_tiles(a: Array, b: Array) -> bool:
    (rows, inner), columns = a.shape, b.shape[1]
    wide = rows >= _LEAST_ROWS and columns >= _LEAST_COLUMNS
    return wide and rows * inner * columns >= _TILED and a.dtype == np.float32 == b.dtype


def _rows_on_tiles(a: Array, b: Array, bias: Array | None) -> Array:
    """a @ b + bias: the rows of `a` are pixels, the columns of `b` filters."""
    (rows, inner), columns = a.shape, b.shape[1]
    plan = plans.forward((1, inner, 1, rows), (columns, inner, 1, 1), _ONE, False)
    stored_across = b.flags.f_contiguous
    packed = pack_matrix(b.T if stored_across else b, plan.tile.panel, transposed=stored_across)
    y = np.empty((rows, columns), np.float32)
    run_forward(plan, _flat(a), [packed], bias, y.reshape(-1))
    return y


def _sums_on_tiles(x: Array, y: Array) -> Array:
    """x.T @ y: the gradient of a weight between inputs x and outputs whose gradient is y."""
    (rows, inputs), outputs = x.shape, y.shape[1]
    plan = plans.weight_gradient((1, inputs, 1, rows), (outputs, inputs, 1, 1), _ONE)
    flat = _flat(x), _flat(y)
    return run_weight_gradient(plan, *flat, inputs * outputs).reshape(inputs, outputs)


def _multiply(a: Array, b: Array, bias: Array | None, y: np.ndarray) -> None:
    np.matmul(a, b, out=y)
    if bias is not None:
        y += bias


def _flat(a: Array) -> np.ndarray:
    """The values of a C-contiguous array; writable, for kernels are compiled for that alone."""
    return a.reshape(-1) if a.flags.writeable else a.reshape(-1).copy()


def add_rows(rows: Array, index: Array, count: int) -> Array:
    """As the reference."""
    total = np.zeros((count, rows.shape[1]), np.float32)
    flat = np.ascontiguousarray(rows).reshape(-1)
    _add_rows()(flat, np.ascontiguousarray(index, np.int64), total.reshape(-1), rows.shape[1])
    return total


@cache
def _add_rows() -> Callable[..., None]:
    @njit(
        types.void(VALUES, types.Array(types.int64, 1, "C", readonly=True), RESULT, types.int64),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(rows, index, total, size):  # type: ignore[no-untyped-def]
        for n in range(len(index)):
            source = rows[n * size : (n + 1) * size]
            target = total[index[n] * size : (index[n] + 1) * size]
            for j in range(size):
                target[j] += source[j]

    return kernel
