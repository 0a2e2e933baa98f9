"""Weighted sums along axes, for interpolation and adaptive pooling; the tables stay on the card."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from core import replay
from core.device import Array, array_module
from core.kernels.cuda.launch import Source, aligned, struct
from core.kernels.cuda.pool import dense, lies_last, over_rows
from core.kernels.layout import channels_first, channels_last
from core.kernels.reference.resample import Taps

_SOURCE = Source("resample.cu")
_TABLES = 1024  # that are kept
_MOST_TAPS = 64  # of one result, where both axes are done at once


class _Table(NamedTuple):
    """Taps on the card: `most` for each of m results, of n values."""

    most: int
    m: int
    n: int
    source: Array  # int32
    weight: Array  # of the accumulator's dtype

    def arguments(self) -> tuple[Any, Array, Array]:
        """As a kernel takes them."""
        return struct(self[:3], np.int32), self.source, self.weight


def resample(x: Array, taps: tuple[Taps, ...]) -> Array:
    """See the reference."""
    return _resample(x, tuple(_table(x, t, transposed=False) for t in taps))


def resample_backward(gy: Array, taps: tuple[Taps, ...]) -> Array:
    """See the reference."""
    return _resample(gy, tuple(_table(gy, t, transposed=True) for t in taps))


def _resample(x: Array, tables: tuple[_Table, ...]) -> Array:
    last = lies_last(x)
    y = channels_last(x) if last else dense(x)
    front = 1 if last else 2
    if len(tables) == 2 and tables[0].most * tables[1].most <= _MOST_TAPS:
        y = _both(y, front, *tables)
    else:
        for axis, table in enumerate(tables, start=front):
            y = _along(y, axis, table)
    return channels_first(y) if last else y


def _along(x: Array, axis: int, table: _Table) -> Array:
    """x in C order with `axis` replaced by its weighted sums."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    y = array_module(x).empty((*before, table.m, *after), x.dtype)
    outer, inner = math.prod(before), math.prod(after)
    kernel, inner = _width("axis", x, inner)
    over_rows(_SOURCE, kernel, x, outer * table.m, inner, outer, inner, *table.arguments(), x, y)
    return y


def _both(x: Array, front: int, rows: _Table, columns: _Table) -> Array:
    """As `_along`, for the axes `front` and the next one."""
    before, after = x.shape[:front], x.shape[front + 2 :]
    y = array_module(x).empty((*before, rows.m, columns.m, *after), x.dtype)
    images, channels = math.prod(before), math.prod(after)
    kernel, channels = _width("both", x, channels)
    height, width = images * rows.m, columns.m * channels
    arguments = (images, channels, *rows.arguments(), *columns.arguments(), x, y)
    over_rows(_SOURCE, kernel, x, height, width, *arguments)
    return y


def _width(kernel: str, x: Array, values: int) -> tuple[str, int]:
    """The kernel for so many neighbouring values, and how many threads they are."""
    lanes = 16 // x.dtype.itemsize
    if values % lanes or not aligned(x):
        return f"{kernel}_values", values
    return f"{kernel}_packs", values // lanes


def _table(x: Array, taps: Taps, transposed: bool) -> _Table:
    """The taps, or their transposed ones, where the kernels for x read them."""
    accumulator = "float64" if x.dtype == np.float64 else "float32"
    tables = taps.source, taps.weight
    key = (taps.source.shape, taps.n, *(t.tobytes() for t in tables), *(t.dtype for t in tables))
    table = uploaded(array_module(x), accumulator, transposed, *key)
    replay.keep(table.source, table.weight)
    return table


@lru_cache(_TABLES)
def uploaded(
    module: Any,
    accumulator: str,
    transposed: bool,
    shape: tuple[int, int],
    n: int,
    source: bytes,
    weight: bytes,
    *dtypes: np.dtype[Any],
) -> _Table:
    """The table of such contents, once."""
    replay.need_no_recording()
    first, second = (
        np.frombuffer(b, d).reshape(shape) for b, d in zip((source, weight), dtypes, strict=True)
    )
    taps = Taps(first, second, n)
    if transposed:
        taps = taps.transposed()
    most, m = taps.source.shape
    sources = module.asarray(taps.source.astype(np.int32))
    return _Table(most, m, taps.n, sources, module.asarray(taps.weight.astype(accumulator)))
