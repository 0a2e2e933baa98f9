"""Activation functions and biases."""

from __future__ import annotations

from core.device import Array, array_module
from core.kernels.layout import ufunc


def add_bias(y: Array, bias: Array) -> None:
    """Add bias (K,) to the channels of y (N, K, *S), in place."""
    y += bias.reshape(1, -1, *(1,) * (y.ndim - 2))


def bias_gradient(gy: Array) -> Array:
    """Gradient of a bias: gy (N, K, *S) summed over all but the channels."""
    return gy.sum(axis=(0, *range(2, gy.ndim)))


def relu(x: Array) -> Array:
    """max(x, 0)."""
    return ufunc("maximum", x, 0)


def relu_(y: Array) -> None:
    """max(y, 0), in place; only for an array that nobody else holds."""
    array_module(y).maximum(y, 0, out=y)


def relu_backward(gy: Array, y: Array) -> Array:
    """gy where the result y was positive, 0 elsewhere."""
    return ufunc("multiply", gy, ufunc("greater", y, 0, dtype=bool))


def leaky_relu(x: Array, slope: float) -> Array:
    """x where it is positive, slope * x elsewhere."""
    return ufunc("maximum", x, ufunc("multiply", x, slope)) if slope <= 1 else _leaky(x, x, slope)


def leaky_relu_backward(gy: Array, x: Array, slope: float) -> Array:
    """gy where x is positive, slope * gy elsewhere."""
    return _leaky(gy, x, slope)


def _leaky(values: Array, x: Array, slope: float) -> Array:
    factor = ufunc("multiply", ufunc("greater", x, 0, dtype=bool), 1 - slope, dtype=values.dtype)
    factor += slope
    return ufunc("multiply", values, factor)


def elu(x: Array, alpha: float) -> Array:
    """x where it is positive, alpha * (exp(x) - 1) elsewhere."""
    low = ufunc("multiply", ufunc("expm1", ufunc("minimum", x, 0)), alpha)
    return ufunc("add", ufunc("maximum", x, 0), low)


def elu_backward(gy: Array, x: Array, alpha: float) -> Array:
    """The gradient of `elu`."""
    slope = ufunc("multiply", ufunc("exp", ufunc("minimum", x, 0)), alpha)
    positive = ufunc("greater", x, 0, dtype=bool)
    slope = array_module(x).where(positive, x.dtype.type(1), slope)
    return ufunc("multiply", gy, slope)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) as exp(min(x, 0)) / (1 + exp(-|x|)): nothing overflows or cancels."""
    y = ufunc("exp", ufunc("minimum", x, 0))
    e = ufunc("exp", ufunc("negative", ufunc("absolute", x)))
    e += 1
    y /= e
    return y


def sigmoid_backward(gy: Array, y: Array) -> Array:
    """gy * y * (1 - y)."""
    return ufunc("multiply", gy, ufunc("multiply", y, ufunc("subtract", 1, y)))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return ufunc("tanh", x)


def tanh_backward(gy: Array, y: Array) -> Array:
    """gy * (1 - y * y)."""
    return ufunc("multiply", gy, ufunc("subtract", 1, ufunc("multiply", y, y)))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return ufunc("logaddexp", x, 0)


def softmax(x: Array, axis: int) -> Array:
    """exp(x) over its sum along `axis`, shifted by the maximum (book, 3.5)."""
    e = ufunc("exp", ufunc("subtract", x, x.max(axis=axis, keepdims=True)))
    e /= e.sum(axis=axis, keepdims=True)
    return e


def softmax_backward(gy: Array, y: Array, axis: int) -> Array:
    """y * (gy - sum(gy * y))."""
    product = ufunc("multiply", gy, y)
    inner = product.sum(axis=axis, keepdims=True)
    product -= ufunc("multiply", y, inner)
    return product


def log_softmax(x: Array, axis: int) -> Array:
    """log(softmax(x)) along `axis`, without overflow."""
    shifted = ufunc("subtract", x, x.max(axis=axis, keepdims=True))
    shifted -= ufunc("log", ufunc("exp", shifted).sum(axis=axis, keepdims=True))
    return shifted


def log_softmax_backward(gy: Array, y: Array, axis: int) -> Array:
    """gy - softmax(x) * sum(gy)."""
    total = gy.sum(axis=axis, keepdims=True)
    return ufunc("subtract", gy, ufunc("multiply", ufunc("exp", y), total))


def dropout_mask(shape: tuple[int, ...], p: float, key: int, first: int, like: Array) -> Array:
    """Bools, True with probability 1 - p; value i hashes (key, first + i) in C order.

    Counter-based: the same key and counter give the same mask on any device. The hash is
    the 32-bit finaliser of Murmur3, applied to counter and key in turn.
    """
    module = array_module(like)
    count = 1
    for n in shape:
        count *= n
    counter = module.arange(first, first + count, dtype="uint64")
    h = _mix((counter & 0xFFFFFFFF).astype("uint32") ^ key)
    h = _mix(h ^ (counter >> 32).astype("uint32") ^ 0x9E3779B9)
    threshold = min(int(p * 2.0**32), 2**32 - 1)
    return (h >= threshold).reshape(shape)


def dropout(x: Array, mask: Array, scale: float) -> Array:
    """x * scale where `mask` is True, 0 elsewhere."""
    y = ufunc("multiply", x, mask)
    y *= scale
    return y


def _mix(h: Array) -> Array:
    h ^= h >> 16
    h *= 0x85EBCA6B
    h ^= h >> 13
    h *= 0xC2B2AE35
    h ^= h >> 16
    return h
