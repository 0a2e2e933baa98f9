"""Matrix products, and the sum of rows that an index names."""

from __future__ import annotations

from core.device import Array, array_module


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, the others broadcast."""
    return a @ b


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    """x @ weight.T + bias: x (N, I), weight (O, I), bias (O,)."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


def add_rows(rows: Array, index: Array, count: int) -> Array:
    """(count, D): the sum of those rows (N, D) whose index (N,) is that number."""
    module = array_module(rows)
    total = module.zeros((count, rows.shape[1]), rows.dtype)
    module.add.at(total, index, rows)
    return total
