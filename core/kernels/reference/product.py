"""The matrix product."""

from __future__ import annotations

from core.device import Array


def matmul(a: Array, b: Array) -> Array:
    """The product over the last two axes, the others broadcast."""
    return a @ b
