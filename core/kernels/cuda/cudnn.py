"""Convolutions by cuDNN's graph interface (`nvidia-cudnn-frontend`), one plan for each shape.

CuPy's arrays are passed by their addresses, on CuPy's stream and with workspace of its pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from core.device import Array, float32_matmul_precision
from core.kernels.reference.conv import Window

DTYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BFLOAT16"}
_WORKSPACE = 1 << 30  # bytes, at most


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


@dataclass(frozen=True)
class _Plan:
    """A finished graph of one convolution, and its tensors in the order of the operands."""

    graph: Any
    tensors: tuple[Any, Any, Any]
    workspace: int

    def run(self, *arrays: Array) -> None:
        import cupy

        scratch = cupy.empty(max(1, self.workspace), "uint8")
        pointers = {t: int(a.data.ptr) for t, a in zip(self.tensors, arrays, strict=True)}
        self.graph.execute(pointers, int(scratch.data.ptr), handle=_handle())


@cache
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
    graph.deselect_workspace_greater_than(_WORKSPACE)
    graph.check_support()
    graph.build_plans()
    return _Plan(graph, (first, second, result), graph.get_workspace_size())


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
