"""Convolutions by cuDNN's graph interface (`nvidia-cudnn-frontend`), one plan for each shape.

CuPy's arrays are passed by their addresses, on CuPy's stream and with workspace of its pool.
"""

from __future__ import annotations

import os
from functools import cache, lru_cache
from typing import Any

from core.device import Array, float32_matmul_precision
from core.kernels.reference.conv import Window

DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
_WORKSPACE = 1 << 30  # bytes, at most
_CANDIDATES = 4  # plans that are measured
_PLANS = 4096  # that are kept


@cache
def available(module: Any) -> bool:
    """Whether arrays of `module` can be convolved by cuDNN."""
    return module.__name__ == "cupy" and _library() is not None


@cache
def _library() -> Any:
    """The package, or None where it or the library itself is missing."""
    try:
        import cudnn

        cudnn.backend_version()
    except Exception:
        # A missing or unfit library shows in many ways; our own kernels take over.
        return None
    return cudnn


def convolve(x: Array, weight: Array, y: Array, window: Window) -> None:
    """y (N, *O, K) of x (N, *S, C) and weight (K, *kernel, C / groups), all contiguous."""
    _run("fprop", (x, weight), y, window)


def convolve_input_gradient(gy: Array, weight: Array, gx: Array, window: Window) -> None:
    """gx (N, *S, C) of gy (N, *O, K) and weight."""
    _run("dgrad", (gy, weight), gx, window)


def convolve_weight_gradient(x: Array, gy: Array, gw: Array, window: Window) -> None:
    """gw (K, *kernel, C / groups) of x (N, *S, C) and gy (N, *O, K)."""
    _run("wgrad", (x, gy), gw, window)


def _run(kind: str, operands: tuple[Array, Array], result: Array, window: Window) -> None:
    shapes = operands[0].shape, operands[1].shape, result.shape
    tensor_cores = float32_matmul_precision() == "high"
    plan = _plan(kind, shapes, window, str(result.dtype), tensor_cores)
    plan.run(*operands, result)


class _Plan:
    """A finished graph of one convolution, and its tensors in the order of the operands.

    What cuDNN recommends first is used; with $OPENBOOK_CUDNN_BENCHMARK=1 the fastest of its first
    recommendations, which the first call measures.
    """

    def __init__(self, graph: Any, tensors: tuple[Any, Any, Any]) -> None:
        self._graph, self._tensors = graph, tensors
        self._candidates = _CANDIDATES if os.environ.get("OPENBOOK_CUDNN_BENCHMARK") == "1" else 1
        self._index = -1

    def run(self, *arrays: Array) -> None:
        """Convolve."""
        if self._index < 0:
            self._index = self._choose(arrays)
        self._execute(self._index, arrays)

    def _execute(self, index: int, arrays: tuple[Array, ...]) -> None:
        import cupy

        size = self._graph.get_workspace_size_plan_at_index(index)
        scratch = cupy.empty(max(1, size), "uint8")
        pointers = {t: int(a.data.ptr) for t, a in zip(self._tensors, arrays, strict=True)}
        pointer = int(scratch.data.ptr)
        self._graph.execute_plan_at_index(pointers, pointer, index, handle=_handle())

    def _choose(self, arrays: tuple[Array, ...]) -> int:
        """The first plan that can be built, or the fastest of the first ones."""
        built = []
        for index in range(self._graph.get_execution_plan_count()):
            try:
                self._graph.build_plan_at_index(index)
            except Exception:
                continue  # cuDNN recommends what it then cannot build
            if self._graph.get_workspace_size_plan_at_index(index) <= _WORKSPACE:
                built.append(index)
            if len(built) == self._candidates:
                break
        if not built:
            raise RuntimeError("cuDNN has no plan for this convolution")
        if len(built) == 1:
            return built[0]
        return min(built, key=lambda index: self._milliseconds(index, arrays))

    def _milliseconds(self, index: int, arrays: tuple[Array, ...]) -> float:
        import cupy

        times = []
        for _ in range(3):
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            self._execute(index, arrays)
            end.record()
            end.synchronize()
            times.append(float(cupy.cuda.get_elapsed_time(start, end)))
        return min(times)


@lru_cache(_PLANS)
def _plan(
    kind: str, shapes: tuple[tuple[int, ...], ...], window: Window, dtype: str, tensor_cores: bool
) -> _Plan:
    lib = _library()
    graph = lib.pygraph(
        io_data_type=getattr(lib.data_type, DTYPES[dtype]),
        intermediate_data_type=lib.data_type.FLOAT,
        compute_data_type=lib.data_type.FLOAT,
        handle=_handle(),
    )
    first, second = (graph.tensor(**_described(shape)) for shape in shapes[:2])
    along = {
        "padding": list(window.padding),
        "stride": list(window.stride),
        "dilation": list(window.dilation),
    }
    operands = {
        "fprop": {"image": first, "weight": second},
        "dgrad": {"loss": first, "filter": second},
        "wgrad": {"image": first, "loss": second},
    }[kind]
    result = getattr(graph, f"conv_{kind}")(**operands, **along)
    described = _described(shapes[2])
    result.set_output(True).set_dim(described["dim"]).set_stride(described["stride"])
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([lib.heur_mode.A, lib.heur_mode.FALLBACK])
    if dtype == "float32" and not tensor_cores:
        graph.deselect_numeric_notes([lib.numerical_note.TENSOR_CORE])
    graph.check_support()
    return _Plan(graph, (first, second, result))


def _described(shape: tuple[int, ...]) -> dict[str, list[int]]:
    """Dimensions (N, C, H, W) and strides of a contiguous array (N, H, W, C)."""
    n, h, w, c = shape
    return {"dim": [n, c, h, w], "stride": [h * w * c, 1, w * c, c]}


@cache
def _new_handle() -> Any:
    return _library().create_handle()


def _handle() -> Any:
    """cuDNN's handle, on CuPy's current stream."""
    import cupy

    handle = _new_handle()
    _library().set_stream(handle=handle, stream=cupy.cuda.get_current_stream().ptr)
    return handle
