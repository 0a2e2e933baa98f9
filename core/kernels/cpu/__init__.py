"""Kernels in Numba with explicit vectors, for float32 arrays of NumPy.

An operation that is not here is the reference's: `__getattr__` hands it out.
"""

from __future__ import annotations

from typing import Any

from core.kernels import reference
from core.kernels.cpu.conv import convolve, convolve_input_gradient, convolve_weight_gradient
from core.kernels.cpu.product import matmul
from core.kernels.cpu.start import start

__all__ = [
    "convolve",
    "convolve_input_gradient",
    "convolve_weight_gradient",
    "matmul",
    "start",
]


def __getattr__(name: str) -> Any:
    return getattr(reference, name)
