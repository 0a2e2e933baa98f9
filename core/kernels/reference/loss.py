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
    # Where q is zero log_p may be minus infinity, a class that was masked, and counts nothing.
    weighted = zeros(log_p.shape, log_p.dtype, log_p)
    array_module(log_p).copyto(weighted, log_p, where=ufunc("not_equal", q, 0, dtype=bool))
    weighted *= q
    return ufunc("negative", weighted.sum(axis=1))


def cross_entropy_backward(gy: Array, log_p: Array, q: Array) -> Array:
    """gy (N, *S) times softmax(x) * sum(q) - q."""
    gx = ufunc("exp", log_p)
    gx *= q.sum(axis=1, keepdims=True)
    gx -= q
    gx *= gy[:, None]
    return gx


def softmax_loss(
    x: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array, Array]:
    """(losses (N, *S), the weight of all targets together, norms) of logits x (N, C, *S).

    The cross entropy of softmax(x) with `target_distribution`. norms (N, *S, 2) are the largest
    logit and the logarithm of the sum of exp(x - largest): all that the backward pass needs.
    """
    module = array_module(x)
    peak = x.max(axis=1, keepdims=True)
    log_p = ufunc("subtract", x, peak)
    log_sum = ufunc("log", ufunc("exp", log_p).sum(axis=1, keepdims=True))
    log_p -= log_sum
    q, total = target_distribution(x, target, weight, ignore_index, smoothing)
    norms = module.stack([peak[:, 0], log_sum[:, 0]], axis=-1)
    return cross_entropy(log_p, q), total, norms


def softmax_loss_backward(
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    smoothing: float,
    norms: Array,
) -> Array:
    """The gradient of `softmax_loss` for x, gy (N, *S)."""
    log_p = ufunc("subtract", x, norms[..., 0][:, None])
    log_p -= norms[..., 1][:, None]
    q, _ = target_distribution(x, target, weight, ignore_index, smoothing)
    return cross_entropy_backward(gy, log_p, q)


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
