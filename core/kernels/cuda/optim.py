"""Steps of optimisers: all parameters that step alike in one launch, or one for each 48."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from core import replay
from core.device import Array, array_module
from core.kernels.cuda.launch import THREADS, Source
from core.kernels.reference import optim as reference
from core.kernels.reference.optim import AdagradStep, AdamStep, Piece, RMSpropStep, SGDStep

_SOURCE = Source("optim.cu")
_TENSORS, _ARRAYS, _NUMBERS = 48, 5, 8  # as in the source
_BLOCKS = 264  # for each parameter, at most
_TABLE = np.dtype(
    [
        ("arrays", np.int64, (_ARRAYS, _TENSORS)),
        ("sizes", np.int32, _TENSORS),
        ("pad", np.int32, _TENSORS),
    ]
)
_NUMBERS_TYPE = np.dtype([("v", np.float64, _NUMBERS)])


def sgd(pieces: Sequence[Piece], step: SGDStep, scaling: Array | None = None) -> None:
    """See the reference; `scaling` is that of `core.amp.GradScaler`."""
    _step("sgd", pieces, step, scaling)


def adagrad(pieces: Sequence[Piece], step: AdagradStep, scaling: Array | None = None) -> None:
    """See the reference."""
    _step("adagrad", pieces, step, scaling)


def rmsprop(pieces: Sequence[Piece], step: RMSpropStep, scaling: Array | None = None) -> None:
    """See the reference."""
    _step("rmsprop", pieces, step, scaling)


def adam(pieces: Sequence[Piece], step: AdamStep, scaling: Array | None = None) -> None:
    """See the reference."""
    _step("adam", pieces, step, scaling)


def _step(rule: str, pieces: Sequence[Piece], step: Any, scaling: Array | None) -> None:
    if not all(_is_dense(piece[0]) for piece in pieces):
        pieces = pieces if scaling is None else reference.unscaled(pieces, scaling)
        getattr(reference, rule)(pieces, step)
        return
    numbers = np.zeros(1, _NUMBERS_TYPE)
    numbers["v"][0, : len(step)] = step
    like = pieces[0][0]
    replayed = replay.numbers(numbers["v"][0])
    for table, blocks, count, _kept in _tables(pieces):
        grid = (blocks, count)
        _SOURCE.launch(rule, like, grid, THREADS, table, numbers, replayed, scaling)


def square_sum(arrays: Sequence[Array]) -> Array:
    """See the reference."""
    if not all(map(_is_dense, arrays)):
        return reference.square_sum(arrays)
    module = array_module(*arrays)
    blocks = min(-(-max(a.size for a in arrays) // THREADS), _BLOCKS)
    partial = module.zeros((len(arrays), blocks), np.float64)
    for first, part in _chunks([(a,) for a in arrays]):
        for table, _, count, _kept in _tables(part):
            like = arrays[0]
            _SOURCE.launch("square_sums", like, (blocks, count), THREADS, table, first, partial)
    return partial.sum()


def scale_(arrays: Sequence[Array], factor: Array) -> None:
    """See the reference."""
    if not all(map(_is_dense, arrays)):
        reference.scale_(arrays, factor)
        return
    factor = factor.astype(np.float64)
    for table, blocks, count, _kept in _tables([(a,) for a in arrays]):
        _SOURCE.launch("scale_all", arrays[0], (blocks, count), THREADS, table, factor)


def find_overflow(gradients: Sequence[Array], scaling: Array) -> None:
    """See the reference."""
    if not all(map(_is_dense, gradients)):
        reference.find_overflow(gradients, scaling)
        return
    for table, blocks, count, _kept in _tables([(a,) for a in gradients]):
        _SOURCE.launch("find_overflow", gradients[0], (blocks, count), THREADS, table, scaling)


def adjust_scale(
    state: Array, scaling: Array, growth: float, backoff: float, interval: int
) -> None:
    """See the reference."""
    _SOURCE.launch("adjust_scale", state, 1, 32, state, scaling, growth, backoff, interval)


def _is_dense(array: Array) -> bool:
    """Whether the values lie side by side in memory, whatever the order of the axes."""
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    return bool(array.flags.c_contiguous or array.transpose(order).flags.c_contiguous)


def _chunks(pieces: Sequence[Piece]) -> Iterator[tuple[int, Sequence[Piece]]]:
    return ((i, pieces[i : i + _TENSORS]) for i in range(0, len(pieces), _TENSORS))


def _tables(pieces: Sequence[Piece]) -> Iterator[tuple[np.ndarray, int, int, Any]]:
    """For each launch: the table, how many blocks a parameter gets, how many there are.

    The fourth item keeps gradients alive that had to be copied into their parameter's order.
    """
    for _, chunk in _chunks([p for p in pieces if p[0].size]):
        kept = [_alike(piece) for piece in chunk]
        table = np.zeros(1, _TABLE)
        for i, piece in enumerate(kept):
            addresses = [0 if a is None else a.data.ptr for a in piece]
            table["arrays"][0, : len(piece), i] = addresses
            table["sizes"][0, i] = piece[0].size
        largest = max(piece[0].size for piece in kept)
        yield table, min(-(-largest // THREADS), _BLOCKS), len(kept), kept


def _alike(piece: Piece) -> Piece:
    """The arrays of a piece, all in the memory order of the first."""
    param = piece[0]
    return tuple(_ordered_as(param, array) for array in piece)


def _strides(array: Array) -> list[int]:
    return [s for s, n in zip(array.strides, array.shape, strict=True) if n > 1]


def _ordered_as(param: Array, array: Array | None) -> Array | None:
    if array is None or array is param or _strides(array) == _strides(param):
        return array
    module = array_module(param)
    copied = module.empty(param.size, array.dtype)
    order = sorted(range(param.ndim), key=lambda axis: -param.strides[axis])
    module.copyto(copied.reshape([param.shape[axis] for axis in order]), array.transpose(order))
    return copied
