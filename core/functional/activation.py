"""Activation functions and dropout (book, 3.2, 5.5, 6.4.3)."""

from __future__ import annotations

from typing import Any

from core import device as dev
from core import kernels, replay
from core.device import Array
from core.functional.operands import axis_of, need_float, tensor_of
from core.kernels.layout import ufunc
from core.tensor import Tensor, record


def relu(input: Any) -> Tensor:
    """max(x, 0); the gradient at zero is zero (book, 5.5.1)."""
    x = tensor_of("relu", input)
    y = kernels.of(x.data).relu(x.data)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).relu_backward(gy, y),)

    return record(y, (x,), backward)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Tensor:
    """x where it is positive, `negative_slope` * x elsewhere (Maas et al. 2013)."""
    x = _float("leaky_relu", input)
    a = x.data

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).leaky_relu_backward(gy, a, negative_slope),)

    return record(kernels.of(a).leaky_relu(a, negative_slope), (x,), backward)


def elu(input: Any, alpha: float = 1.0) -> Tensor:
    """x where it is positive, `alpha` * (exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    x = _float("elu", input)
    a = x.data

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).elu_backward(gy, a, alpha),)

    return record(kernels.of(a).elu(a, alpha), (x,), backward)


def sigmoid(input: Any) -> Tensor:
    """1 / (1 + exp(-x)) (book, 3.2.4 and 5.5.2)."""
    x = _float("sigmoid", input)
    y = kernels.of(x.data).sigmoid(x.data)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).sigmoid_backward(gy, y),)

    return record(y, (x,), backward)


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent."""
    x = _float("tanh", input)
    y = kernels.of(x.data).tanh(x.data)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).tanh_backward(gy, y),)

    return record(y, (x,), backward)


def softplus(input: Any) -> Tensor:
    """log(1 + exp(x)), without overflow."""
    x = _float("softplus", input)
    a = x.data

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (ufunc("multiply", gy, kernels.of(a).sigmoid(a)),)

    return record(kernels.of(a).softplus(a), (x,), backward)


def softmax(input: Any, dim: int) -> Tensor:
    """exp(x) over its sum along `dim`, without overflow (book, 3.5)."""
    x = _float("softmax", input)
    axis = axis_of("softmax", dim, x.ndim)
    y = kernels.of(x.data).softmax(x.data, axis)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).softmax_backward(gy, y, axis),)

    return record(y, (x,), backward)


def log_softmax(input: Any, dim: int) -> Tensor:
    """log(softmax(x)) along `dim`, without overflow."""
    x = _float("log_softmax", input)
    axis = axis_of("log_softmax", dim, x.ndim)
    y = kernels.of(x.data).log_softmax(x.data, axis)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).log_softmax_backward(gy, y, axis),)

    return record(y, (x,), backward)


def dropout(input: Any, p: float = 0.5, training: bool = True) -> Tensor:
    """Zero each value with probability `p` and scale the rest by 1 / (1 - p).

    Without `training` the input passes unchanged. The mask follows from the core's seed and a
    counter (`core.seed`), not from the device. Raises ValueError for p outside [0, 1].
    Srivastava et al. 2014; book, 6.4.3.
    """
    x = _float("dropout", input)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}, expected a probability in [0, 1]")
    if not training or p == 0:
        return x
    count = x.numel()
    key, first = dev.random.take(count)
    mask = kernels.of(x.data).dropout_mask(x.shape, p, key, first, x.data)
    # A checkpoint computes the same mask again.
    replay.on_replay(lambda: (dev.random.take(count)[1] - first,), key=("dropout", first))
    scale = 1.0 / (1.0 - p) if p < 1 else 0.0

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).dropout(gy, mask, scale),)

    return record(kernels.of(x.data).dropout(x.data, mask, scale), (x,), backward)


def _float(operation: str, value: Any) -> Tensor:
    x = tensor_of(operation, value)
    need_float(operation, x)
    return x
