"""Steps of optimisers, and clipping, in one pass over all arrays of a run.

A kernel is given a table with a row for each parameter: the addresses of its arrays, and where
its values begin and end when all are counted one behind the other. Many small parameters share a
call so, and a large one is cut; parameters, gradients and state stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import chunks, order, run_chunks
from core.kernels.cpu.vector import FASTMATH
from core.kernels.reference.optim import AdagradStep, AdamStep, Piece, RMSpropStep, SGDStep

_INT = types.int64
_FLOAT = types.float64
_TABLE = types.int64[:, ::1]
_SUMS = types.float64[::1]
# A test of every divisor would keep the loops from vectors.
_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "fastmath": FASTMATH,
    "error_model": "numpy",
}


def sgd(pieces: Sequence[Piece], step: SGDStep) -> None:
    """As the reference."""
    _step(_sgd, reference.sgd, pieces, step)


def adagrad(pieces: Sequence[Piece], step: AdagradStep) -> None:
    """As the reference."""
    _step(_adagrad, reference.adagrad, pieces, step)


def rmsprop(pieces: Sequence[Piece], step: RMSpropStep) -> None:
    """As the reference."""
    _step(_rmsprop, reference.rmsprop, pieces, step)


def adam(pieces: Sequence[Piece], step: AdamStep) -> None:
    """As the reference."""
    _step(_adam, reference.adam, pieces, step)


def square_sum(arrays: Sequence[Array]) -> Array:
    """As the reference, summed in chunks that follow from the sizes alone."""
    if not all(_usable(array) for array in arrays):
        return reference.square_sum(arrays)
    table = _table([(array,) for array in arrays])
    kernel, parts = _square_sum(), chunks(int(table[-1, -1]))
    sums = np.zeros(len(parts))
    index = {part: i for i, part in enumerate(parts)}
    run_chunks(lambda a, b: kernel(table, sums, index[a, b], a, b), parts)
    return np.asarray(sums.sum())


def scale_(arrays: Sequence[Array], factor: Array) -> None:
    """As the reference."""
    if not all(_usable(array) and array.flags.writeable for array in arrays):
        reference.scale_(arrays, factor)
        return
    table = _table([(array,) for array in arrays])
    kernel, value = _scale(), float(factor)
    run_chunks(lambda a, b: kernel(table, value, a, b), chunks(int(table[-1, -1])))


def _step(
    kernel_of: Callable[[], Callable[..., None]],
    otherwise: Callable[[Sequence[Piece], Any], None],
    pieces: Sequence[Piece],
    step: tuple[Any, ...],
) -> None:
    """Run the kernel over the pieces that it can address, the reference over the others."""
    addressed = [_addressable(piece) for piece in pieces]
    rest = [piece for piece, found in zip(pieces, addressed, strict=True) if found is None]
    if rest:
        otherwise(rest, step)
    rows = [piece for piece in addressed if piece is not None]
    if rows:
        table, kernel = _table(rows), kernel_of()
        numbers = tuple(float(number) for number in step)
        run_chunks(lambda a, b: kernel(table, *numbers, a, b), chunks(int(table[-1, -1])))


def _addressable(piece: Piece) -> Piece | None:
    """The piece, its gradient copied where that lies in another order than the parameter.

    None where the parameter has gaps, or its state another order.
    """
    param, gradient, *state = piece
    written = [param, *(array for array in state if array is not None)]
    if not all(_usable(a) and a.flags.writeable and a.strides == param.strides for a in written):
        return None
    if gradient.strides != param.strides or gradient.dtype != np.float32:
        same = np.empty_like(param)
        same[...] = gradient
        gradient = same
    return (param, gradient, *state)


def _usable(array: Array) -> bool:
    """Whether the values are float32 and lie together without gaps."""
    return bool(array.size) and order(array) is not None


def _table(pieces: Sequence[Piece]) -> np.ndarray:
    """A row for each piece: its arrays' addresses (0 for None), its first value and its end."""
    rows, end = [], 0
    for piece in pieces:
        begin, end = end, end + piece[0].size
        rows.append([0 if a is None else a.ctypes.data for a in piece] + [begin, end])
    return np.array(rows, np.int64)


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """The address as a pointer to float32 values."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[0], kind)

    return types.CPointer(types.float32)(types.int64), generate


@njit(nogil=True)
def _share(table, row, first, last):  # type: ignore[no-untyped-def]
    """The values of this row that are among first..last of all."""
    begin, end = table[row, -2], table[row, -1]
    return max(first, begin) - begin, min(last, end) - begin


@njit(nogil=True)
def _values(table, row, column, start, stop):  # type: ignore[no-untyped-def]
    """These values of an array of the table."""
    return carray(_pointer(table[row, column] + 4 * start), (stop - start,))  # type: ignore[call-arg]


@cache
def _sgd() -> Callable[..., None]:
    @njit(types.void(_TABLE, *[_FLOAT] * 5, _INT, _INT), **_OPTIONS)
    def kernel(table, rate, momentum, share, nesterov, decay, first, last):  # type: ignore[no-untyped-def]
        rate, momentum, share = np.float32(rate), np.float32(momentum), np.float32(share)
        decay = np.float32(decay)
        ahead, direct = np.float32(0), np.float32(1)
        if nesterov:
            ahead, direct = np.float32(1), momentum
        for row in range(len(table)):
            start, stop = _share(table, row, first, last)
            if start >= stop:
                continue
            p = _values(table, row, 0, start, stop)
            g = _values(table, row, 1, start, stop)
            if table[row, 2] == 0:
                for i in range(len(p)):
                    p[i] -= rate * (g[i] + decay * p[i])
                continue
            v = _values(table, row, 2, start, stop)
            for i in range(len(p)):
                gradient = g[i] + decay * p[i]
                v[i] = momentum * v[i] + share * gradient
                p[i] -= rate * (direct * v[i] + ahead * gradient)

    return kernel


@cache
def _adagrad() -> Callable[..., None]:
    @njit(types.void(_TABLE, *[_FLOAT] * 3, _INT, _INT), **_OPTIONS)
    def kernel(table, rate, eps, decay, first, last):  # type: ignore[no-untyped-def]
        rate, eps, decay = np.float32(rate), np.float32(eps), np.float32(decay)
        for row in range(len(table)):
            start, stop = _share(table, row, first, last)
            if start >= stop:
                continue
            p = _values(table, row, 0, start, stop)
            g = _values(table, row, 1, start, stop)
            h = _values(table, row, 2, start, stop)
            for i in range(len(p)):
                gradient = g[i] + decay * p[i]
                h[i] += gradient * gradient
                p[i] -= rate * gradient / (math.sqrt(h[i]) + eps)

    return kernel


@cache
def _rmsprop() -> Callable[..., None]:
    @njit(types.void(_TABLE, *[_FLOAT] * 5, _INT, _INT), **_OPTIONS)
    def kernel(table, rate, alpha, eps, decay, momentum, first, last):  # type: ignore[no-untyped-def]
        rest = np.float32(1 - alpha)
        rate, alpha, eps = np.float32(rate), np.float32(alpha), np.float32(eps)
        decay, momentum = np.float32(decay), np.float32(momentum)
        for row in range(len(table)):
            start, stop = _share(table, row, first, last)
            if start >= stop:
                continue
            p = _values(table, row, 0, start, stop)
            g = _values(table, row, 1, start, stop)
            h = _values(table, row, 2, start, stop)
            centered, moving = table[row, 3] != 0, table[row, 4] != 0
            if not (centered or moving):
                for i in range(len(p)):
                    gradient = g[i] + decay * p[i]
                    h[i] = alpha * h[i] + rest * (gradient * gradient)
                    p[i] -= rate * gradient / (math.sqrt(h[i]) + eps)
                continue
            # An array that is not there is one that nothing is read from.
            m = _values(table, row, 3 if centered else 2, start, stop)
            v = _values(table, row, 4 if moving else 2, start, stop)
            for i in range(len(p)):
                gradient = g[i] + decay * p[i]
                h[i] = alpha * h[i] + rest * (gradient * gradient)
                below = h[i]
                if centered:
                    m[i] += rest * (gradient - m[i])
                    below -= m[i] * m[i]
                change = gradient / (math.sqrt(below) + eps)
                if moving:
                    change += momentum * v[i]
                    v[i] = change
                p[i] -= rate * change

    return kernel


@cache
def _adam() -> Callable[..., None]:
    @njit(types.void(_TABLE, *[_FLOAT] * 7, _INT, _INT), **_OPTIONS)
    def kernel(table, rate, beta1, beta2, root, eps, decay, shrink, first, last):  # type: ignore[no-untyped-def]
        rest1, rest2 = np.float32(1 - beta1), np.float32(1 - beta2)
        beta2, rate, eps = np.float32(beta2), np.float32(rate), np.float32(eps)
        decay, shrink = np.float32(decay), np.float32(shrink)
        scale = np.float32(1 / root)
        for row in range(len(table)):
            start, stop = _share(table, row, first, last)
            if start >= stop:
                continue
            p = _values(table, row, 0, start, stop)
            g = _values(table, row, 1, start, stop)
            m = _values(table, row, 2, start, stop)
            v = _values(table, row, 3, start, stop)
            for i in range(len(p)):
                param = p[i] * shrink
                gradient = g[i] + decay * param
                m[i] += rest1 * (gradient - m[i])
                v[i] = beta2 * v[i] + rest2 * (gradient * gradient)
                p[i] = param - rate * m[i] / (math.sqrt(v[i]) * scale + eps)

    return kernel


@cache
def _square_sum() -> Callable[..., None]:
    @njit(types.void(_TABLE, _SUMS, _INT, _INT, _INT), **_OPTIONS)
    def kernel(table, sums, part, first, last):  # type: ignore[no-untyped-def]
        total = 0.0
        for row in range(len(table)):
            start, stop = _share(table, row, first, last)
            if start >= stop:
                continue
            x = _values(table, row, 0, start, stop)
            for i in range(len(x)):
                total += np.float64(x[i]) * np.float64(x[i])
        sums[part] = total

    return kernel


@cache
def _scale() -> Callable[..., None]:
    @njit(types.void(_TABLE, _FLOAT, _INT, _INT), **_OPTIONS)
    def kernel(table, factor, first, last):  # type: ignore[no-untyped-def]
        factor = np.float32(factor)
        for row in range(len(table)):
            start, stop = _share(table, row, first, last)
            if start >= stop:
                continue
            x = _values(table, row, 0, start, stop)
            for i in range(len(x)):
                x[i] *= factor

    return kernel
