"""Convolution and transposed convolution, each the other's backward pass.

Book, 7.2 and 7.4; Dumoulin and Visin 2016 for the arithmetic of sizes.
"""

from __future__ import annotations

from typing import Any

from core import kernels
from core.amp import narrowed
from core.device import Array
from core.functional.operands import need_float, pair, tensor_of
from core.kernels.reference.conv import Window
from core.tensor import Tensor, record, requires_grad


def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation over one axis: (N, C, L) with (K, C / groups, k) gives (N, K, L')."""
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation over pictures (book, 7.2).

    input (N, C, H, W), weight (K, C / groups, kh, kw), bias (K,) give (N, K, H', W') with
    H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1. `padding` is in pixels, or
    "same" or "valid". Raises ValueError for shapes that do not fit.
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation over volumes: (N, C, D, H, W) with (K, C / groups, kd, kh, kw)."""
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv2d_relu(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`relu(conv2d(...))` as one node, which keeps one result instead of two."""
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups, True)


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The gradient of conv2d for its input, as a forward pass ("deconvolution"; book, 8.4.2).

    input (N, C, H, W), weight (C, K / groups, kh, kw), bias (K,) give (N, K, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. Raises
    ValueError for shapes that do not fit.
    """
    name = "conv_transpose2d"
    x, w, b = _operands(name, 2, input, weight, bias)
    window = _window(name, 2, w.shape[2:], stride, pair(padding), dilation, groups)
    extra = pair(output_padding)
    if x.shape[1] != w.shape[0] or x.shape[1] % groups:
        raise ValueError(
            f"{name}: input has {x.shape[1]} channels, weight {w.shape} expects {w.shape[0]} "
            f"in {groups} group(s)"
        )
    if any(
        not 0 <= e < max(s, d)
        for e, s, d in zip(extra, window.stride, window.dilation, strict=True)
    ):
        raise ValueError(f"{name}: output_padding {extra} is not smaller than stride or dilation")
    _check_bias(name, b, w.shape[1] * groups)
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(
            x.shape[2:],
            w.shape[2:],
            window.stride,
            window.padding,
            window.dilation,
            extra,
            strict=True,
        )
    )
    if min(size) < 1:
        raise ValueError(f"{name}: input {x.shape} and weight {w.shape} give the size {size}")
    k = kernels.of(x.data, w.data)
    y = k.convolve_input_gradient(x.data, w.data, size, window)
    if b is not None:
        k.add_bias(y, b.data)
    needs = requires_grad(x, w, b)
    a = x.data if needs[1] else None
    v = w.data if needs[0] else None
    kernel = w.shape[2:]

    def backward(gy: Array) -> tuple[Array | None, ...]:
        k = kernels.of(gy)
        gx = k.convolve(gy, v, None, window) if needs[0] else None
        gw = k.convolve_weight_gradient(gy, a, kernel, window) if needs[1] else None
        return gx, gw, k.bias_gradient(gy) if needs[2] else None

    return record(y, (x, w, b), backward)


def _convolution(
    name: str,
    spatial: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    relu: bool = False,
) -> Tensor:
    x, w, b = _operands(name, spatial, input, weight, bias)
    size, kernel = x.shape[2:], w.shape[2:]
    window = _window(name, spatial, kernel, stride, padding, dilation, groups)
    if x.shape[1] != w.shape[1] * groups:
        raise ValueError(
            f"{name}: input has {x.shape[1]} channels, weight expects {w.shape[1] * groups}"
        )
    if w.shape[0] % groups:
        raise ValueError(f"{name}: {w.shape[0]} filters do not divide into {groups} groups")
    _check_bias(name, b, w.shape[0])
    if min(window.output_size(size, kernel)) < 1:
        raise ValueError(
            f"{name}: kernel {kernel} does not fit into input {x.shape} with padding "
            f"{window.padding} and dilation {window.dilation}"
        )
    k = kernels.of(x.data, w.data)
    y = k.convolve(x.data, w.data, None if b is None else b.data, window, relu)
    needs = requires_grad(x, w, b)
    a = x.data if needs[1] else None
    v = w.data if needs[0] else None
    result = y if relu else None

    def backward(gy: Array) -> tuple[Array | None, ...]:
        k = kernels.of(gy)
        if result is not None:
            gy = k.relu_backward(gy, result)
        gx = k.convolve_input_gradient(gy, v, size, window) if needs[0] else None
        gw = k.convolve_weight_gradient(a, gy, kernel, window) if needs[1] else None
        return gx, gw, k.bias_gradient(gy) if needs[2] else None

    return record(y, (x, w, b), backward, f"{name}_relu" if relu else name)


def _operands(
    name: str, spatial: int, input: Any, weight: Any, bias: Any
) -> tuple[Tensor, Tensor, Tensor | None]:
    x = tensor_of(name, input, "input", spatial + 2)
    w = tensor_of(name, weight, "weight", spatial + 2)
    need_float(name, x)
    x, w, b = narrowed(x, w, None if bias is None else tensor_of(name, bias, "bias", 1))
    if x.dtype != w.dtype:
        raise TypeError(f"{name}: input has dtype {x.dtype}, weight {w.dtype}; expected equal ones")
    return x, w, b


def _check_bias(name: str, bias: Tensor | None, filters: int) -> None:
    if bias is not None and bias.shape != (filters,):
        raise ValueError(f"{name}: bias has shape {bias.shape}, expected ({filters},)")


def _window(
    name: str,
    spatial: int,
    kernel: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Window:
    strides, dilations = pair(stride, spatial), pair(dilation, spatial)
    if isinstance(padding, str):
        paddings = _named_padding(name, padding, kernel, strides, dilations)
    else:
        paddings = pair(padding, spatial)
    if min(strides) < 1 or min(dilations) < 1 or min(paddings) < 0 or groups < 1:
        raise ValueError(
            f"{name}: stride {strides}, padding {paddings}, dilation {dilations}, groups {groups}: "
            "expected stride, dilation and groups >= 1 and padding >= 0"
        )
    return Window(strides, paddings, dilations, groups)


def _named_padding(
    name: str,
    padding: str,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    if padding == "valid":
        return (0,) * len(kernel)
    if padding != "same" or max(stride) > 1:
        raise ValueError(
            f"{name}: padding {padding!r} with stride {stride}, expected numbers, 'valid', or "
            "'same' with stride 1"
        )
    spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(s % 2 for s in spans):
        raise ValueError(f"{name}: padding 'same' needs odd kernels, got {kernel}")
    return tuple(s // 2 for s in spans)
