"""The sum of rows that an index names."""

from __future__ import annotations

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda.launch import Source
from core.kernels.reference import product as reference

_SOURCE = Source("rows.cu")
_SORTED = 32  # rows of the result in a block that sorts, as TILE in the source
_ADDED = 16  # and in one that adds, a warp for each


def add_rows(rows: Array, index: Array, count: int) -> Array:
    """See the reference; the rows are added in the order of the index, whatever the device."""
    module, n = array_module(rows), len(rows)
    if not rows.size or not count or index.ndim != 1:
        return reference.add_rows(rows, index, count)
    rows = module.ascontiguousarray(rows)
    index = module.ascontiguousarray(index.astype(np.int64, copy=False))
    start, order = module.empty(count + 1, np.int32), module.empty(n, np.int32)
    blocks = -(-count // _SORTED)
    _SOURCE.launch("order_rows", rows, blocks, 1024, index, n, count, start, order)
    columns = rows.shape[1]
    total, across = module.empty((count, columns), rows.dtype), 512 // rows.dtype.itemsize
    grid = -(-count // _ADDED), -(-columns // across)
    _SOURCE.launch("add_rows", rows, grid, 32 * _ADDED, rows, start, order, total, count, columns)
    return total
