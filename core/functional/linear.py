"""The affine layer (book, 5.6)."""

from __future__ import annotations

from typing import Any

from core import kernels
from core.amp import narrowed
from core.device import Array
from core.functional.operands import need_float, tensor_of
from core.tensor import Tensor, record, requires_grad


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """x @ weight.T + bias: (..., I) with weight (O, I) and bias (O,) gives (..., O).

    Raises ValueError for shapes that do not fit. Book, 5.6.2.
    """
    return _affine(input, weight, bias, relu=False)


def linear_relu(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """`relu(linear(...))` as one node, which keeps one result instead of two."""
    return _affine(input, weight, bias, relu=True)


def _affine(input: Any, weight: Any, bias: Any, relu: bool) -> Tensor:
    x, w = tensor_of("linear", input), tensor_of("linear", weight, "weight", 2)
    b = None if bias is None else tensor_of("linear", bias, "bias", 1)
    need_float("linear", x)
    x, w, b = narrowed(x, w, b)
    if not x.ndim or x.shape[-1] != w.shape[1]:
        raise ValueError(f"linear: input has shape {x.shape}, weight expects (..., {w.shape[1]})")
    if b is not None and b.shape != (w.shape[0],):
        raise ValueError(f"linear: bias has shape {b.shape}, expected ({w.shape[0]},)")
    if x.dtype != w.dtype:
        raise TypeError(f"linear: input has dtype {x.dtype}, weight {w.dtype}; expected equal ones")
    shape = x.shape
    k = kernels.of(x.data, w.data, *(() if b is None else (b.data,)))
    y = k.affine(x.data.reshape(-1, shape[-1]), w.data, None if b is None else b.data)
    y = y.reshape(*shape[:-1], w.shape[0])
    if relu:
        k.relu_(y)
    needs = requires_grad(x, w, b)
    a = x.data if needs[1] else None
    v = w.data if needs[0] else None
    result = y if relu else None

    def backward(gy: Array) -> tuple[Array | None, ...]:
        k = kernels.of(gy)
        if result is not None:
            gy = k.relu_backward(gy, result)
        rows = gy.reshape(-1, gy.shape[-1])
        gx = k.matmul(rows, v).reshape(shape) if v is not None else None
        gw = k.matmul(rows.T, a.reshape(-1, shape[-1])) if a is not None else None
        return gx, gw, k.bias_gradient(rows) if needs[2] else None

    return record(y, (x, w, b), backward, "linear_relu" if relu else "linear")
