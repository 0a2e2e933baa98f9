"""Losses, element by element, and their slopes."""

from __future__ import annotations

from core.device import Array, array_module
from core.kernels.layout import ufunc, zeros
from core.kernels.reference.activation import sigmoid, softplus


def target_distribution(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array]:
    """(q, total): what each class should weigh, and the weight of all targets together.

    x (N, C, *S), target (N, *S). q (N, C, *S) is weight[c] * ((1 - smoothing) [c = target] +
    smoothing / C), and zero where the target is `ignore_index`.
    """
    module, classes = array_module(x), x.shape[1]
    kept = (target != ignore_index)[:, None]
    chosen = module.where(kept, target[:, None], 0)
    q = zeros(x.shape, x.dtype, x)
    q += smoothing / classes
    at_target = chosen == module.arange(classes).reshape(1, classes, *(1,) * (x.ndim - 2))
    q += ufunc("multiply", at_target, 1 - smoothing, dtype=x.dtype)
    q *= kept
    if weight is None:
        return q, kept.sum(dtype=x.dtype)
    q *= weight.reshape(1, classes, *(1,) * (x.ndim - 2))
    return q, (weight[chosen] * kept).sum(dtype=x.dtype)


def cross_entropy(log_p: Array, q: Array) -> Array:
    """-sum over classes of q * log_p: (N, C, *S) to (N, *S)."""
    return ufunc("negative", ufunc("multiply", q, log_p).sum(axis=1))


def cross_entropy_backward(gy: Array, log_p: Array, q: Array) -> Array:
    """gy (N, *S) times softmax(x) * sum(q) - q."""
    gx = ufunc("exp", log_p)
    gx *= q.sum(axis=1, keepdims=True)
    gx -= q
    gx *= gy[:, None]
    return gx


def binary_cross_entropy(x: Array, target: Array, pos_weight: Array | float) -> Array:
    """(1 - t) x + (1 + (pos_weight - 1) t) log(1 + exp(-x)), without overflow."""
    positive = 1 + (pos_weight - 1) * target
    y = ufunc("multiply", positive, softplus(ufunc("negative", x)))
    y += (1 - target) * x
    return y


def binary_cross_entropy_slope(x: Array, target: Array, pos_weight: Array | float) -> Array:
    """The derivative of `binary_cross_entropy` with respect to x."""
    positive = 1 + (pos_weight - 1) * target
    slope = ufunc("multiply", positive, sigmoid(ufunc("negative", x)))
    return ufunc("subtract", 1 - target, slope)


def huber(difference: Array, delta: float) -> Array:
    """difference^2 / 2 up to delta, delta * (|difference| - delta / 2) beyond."""
    size = ufunc("absolute", difference)
    inner = ufunc("minimum", size, delta)
    return ufunc("multiply", inner, ufunc("subtract", size, ufunc("multiply", inner, 0.5)))


def huber_slope(difference: Array, delta: float) -> Array:
    """The derivative of `huber`: the difference, clipped to [-delta, delta]."""
    return ufunc("maximum", ufunc("minimum", difference, delta), -delta)
