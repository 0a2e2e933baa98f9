"""Kernels: arrays in, arrays out; no Tensor, no tape.

`of(*arrays)` chooses who computes. `reference` is the textbook in plain array code, runs on
NumPy and CuPy in any float dtype, and is the oracle for every faster backend. `cpu` is Numba
with explicit vectors for float32 arrays of NumPy, `cuda` is CUDA C++ for arrays of CuPy; what they
do not cover they hand to the reference, operation by operation. `OPENBOOK_KERNELS=reference` and
`use("reference")` switch both off, and an installation without Numba the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from core import device as dev
from core.kernels import reference

_DEFAULT = "cpu"
_BACKENDS = ("reference", "cpu")
_FLOAT32 = np.dtype(np.float32)

_chosen: ContextVar[str | None] = ContextVar("kernels", default=None)


def of(*arrays: Any) -> ModuleType:
    """The backend for these operands.

    Raises ValueError when $OPENBOOK_KERNELS is neither "reference" nor "cpu".
    """
    if (_chosen.get() or _from_environment()) == "reference":
        return reference
    if all(type(array) is np.ndarray and array.dtype == _FLOAT32 for array in arrays):
        return _cpu() or reference
    return _cuda() if _all_on_gpu(arrays) else reference


def _all_on_gpu(arrays: tuple[Any, ...]) -> bool:
    """Whether all lie where kernels in CUDA C++ run, in one dtype that they know."""
    module = dev.array_module(*arrays)
    if module is np or not hasattr(module, "RawModule"):
        return False
    dtype = arrays[0].dtype
    return dev.is_float(dtype) and all(array.dtype == dtype for array in arrays)


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Compute with `backend` ("reference", or "cpu": the fast kernels) inside the block.

    Raises ValueError for another name, RuntimeError for "cpu" without Numba.
    """
    if backend not in _BACKENDS:
        raise ValueError(f"kernels.use: got {backend!r}, expected one of {', '.join(_BACKENDS)}")
    if backend == "cpu" and _cpu() is None:
        raise RuntimeError("kernels 'cpu' need Numba, which is not installed")
    token = _chosen.set(backend)
    try:
        yield
    finally:
        _chosen.reset(token)


@cache
def _from_environment() -> str:
    name = os.environ.get("OPENBOOK_KERNELS") or _DEFAULT
    if name not in _BACKENDS:
        raise ValueError(f"OPENBOOK_KERNELS is {name!r}, expected one of {', '.join(_BACKENDS)}")
    return name


@cache
def _cuda() -> ModuleType:
    """The backend in CUDA C++."""
    from core.kernels import cuda

    return cuda


@cache
def _cpu() -> ModuleType | None:
    """The backend in Numba, made ready; None where it, or Numba, is not installed."""
    try:
        from core.kernels import cpu
    except ModuleNotFoundError as error:
        if error.name not in ("numba", "llvmlite", "core.kernels.cpu"):
            raise
        return None
    cpu.start()
    return cpu
