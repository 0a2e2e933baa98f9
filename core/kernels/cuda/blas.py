"""Matrix products by cuBLAS, called directly: CuPy's own calls refuse to be captured into a graph.

Matrices are row-major; cuBLAS, which is column-major, sees every one transposed.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from core.device import Array, float32_matmul_precision

# cudaDataType and cublasComputeType_t.
_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_TF32 = 68, 70, 77
_WORKSPACE = 32 << 20  # bytes, what cuBLAS asks for on Hopper


class Layout:
    """How cuBLAS reads one matrix: transposed or not, and the length of its lines in memory."""

    def __init__(self, x: Array) -> None:
        rows, columns = x.shape[-2:]
        down, across = (s // x.dtype.itemsize for s in x.strides[-2:])
        if columns == 1 or across == 1:
            self.transposed, self.line = 0, down if rows > 1 else columns
        else:
            self.transposed, self.line = 1, across if columns > 1 else rows
        self.line = max(self.line, 1)


def fits(x: Array) -> bool:
    """Whether one of the last two axes of x is dense in memory, the other not smaller."""
    rows, columns = x.shape[-2:]
    down, across = (s // x.dtype.itemsize for s in x.strides[-2:])
    if columns == 1 or across == 1:
        return bool(rows == 1 or down >= columns)
    return bool((rows == 1 or down == 1) and across >= rows)


def gemm(a: Array, b: Array, out: Array, add: bool, batch: int = 0) -> None:
    """out = a @ b, or out += a @ b: (m, k), (k, n), (m, n), or `batch` of them, evenly apart."""
    blas, name = _blas(), str(a.dtype)
    compute = {"float64": _COMPUTE_64F}.get(name, _COMPUTE_32F)
    if name == "float32" and float32_matmul_precision() == "high":
        compute = _COMPUTE_TF32
    number = ctypes.c_double if name == "float64" else ctypes.c_float
    one, beta = number(1), number(1 if add else 0)
    la, lb, lc = Layout(a), Layout(b), Layout(out)
    (m, k), n = a.shape[-2:], b.shape[-1]
    kind = _TYPES[name]
    steps = [x.strides[0] // x.dtype.itemsize for x in (b, a, out)] if batch else [None] * 3
    each = [
        _operand(x, kind, layout.line, step)
        for x, layout, step in zip((b, a, out), (lb, la, lc), steps, strict=True)
    ]
    head = (blas.handle, lb.transposed, la.transposed, n, m, k, ctypes.byref(one))
    call = blas.library.cublasGemmStridedBatchedEx if batch else blas.library.cublasGemmEx
    tail = (batch, compute, -1) if batch else (compute, -1)
    blas.ready()
    _check(call(*head, *each[0], *each[1], ctypes.byref(beta), *each[2], *tail), "product")


def _operand(x: Array, kind: int, line: int, step: int | None) -> tuple[Any, ...]:
    pointer = ctypes.c_void_p(x.data.ptr)
    return (pointer, kind, line) if step is None else (pointer, kind, line, ctypes.c_longlong(step))


class _Blas:
    """The library, a handle, and the stream and workspace that it was told."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self.library = load_library("cublas")
        self.handle = ctypes.c_void_p()
        _check(self.library.cublasCreate_v2(ctypes.byref(self.handle)), "start")
        self._workspace = cupy.empty(_WORKSPACE, "uint8")
        self._stream = -1

    def ready(self) -> None:
        """Follow CuPy's current stream."""
        stream = self._cupy.cuda.get_current_stream().ptr
        if stream != self._stream:
            library, pointer = self.library, ctypes.c_void_p(self._workspace.data.ptr)
            _check(library.cublasSetStream_v2(self.handle, ctypes.c_void_p(stream)), "stream")
            size = ctypes.c_size_t(_WORKSPACE)
            _check(library.cublasSetWorkspace_v2(self.handle, pointer, size), "workspace")
            self._stream = stream


@cache
def _blas() -> _Blas:
    return _Blas()


def load_library(name: str) -> ctypes.CDLL:
    """A library of NVIDIA's, such as "cublas", from where CuPy finds it."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return ctypes.CDLL(load_nvidia_dynamic_lib(name).abs_path)


def _check(status: int, what: str) -> None:
    if status:
        raise RuntimeError(f"cuBLAS: {what} failed with status {status}")
