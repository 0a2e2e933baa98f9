"""Losses (book, 4.2), PyTorch's names and meanings.

`reduction` is "mean", "sum" or "none" everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core import device as dev
from core import kernels
from core.amp import widened
from core.device import Array
from core.functional.operands import array_of, cast_to, need_float, tensor_of
from core.functional.reduction import mean, sum
from core.kernels.layout import ufunc
from core.tensor import Tensor, record, requires_grad


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax with cross entropy, one node, pixel-wise too (book, 4.2.2 and 5.6.3).

    input: logits (N, C) or (N, C, *S); target: classes (N,) or (N, *S), integers; weight: one
    for each class (C,). Targets equal to `ignore_index` count nothing; "mean" divides by the
    weight of the others. `label_smoothing` as in Szegedy et al. 2016. Raises ValueError for
    shapes that do not fit and classes outside 0..C-1.
    """
    x = _logits("cross_entropy", input)
    labels = _labels("cross_entropy", target, x, ignore_index)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing {label_smoothing}, expected 0 to 1")
    w = None if weight is None else array_of("cross_entropy", weight).astype(x.dtype, copy=False)
    if w is not None and w.shape != (x.shape[1],):
        raise ValueError(f"cross_entropy: weight has shape {w.shape}, expected ({x.shape[1]},)")
    a, settings = x.data, (labels, w, ignore_index, label_smoothing)
    losses, total, norms = kernels.of(a).softmax_loss(a, *settings)

    def slope(each: Array) -> Array:
        return kernels.of(each).softmax_loss_backward(each, a, *settings, norms)

    return _class_loss("cross_entropy", x, losses, total, slope, reduction)


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The negative of the target class's log-probability; `input` holds log-probabilities.

    Shapes and `weight` as in `cross_entropy`.
    """
    x = _logits("nll_loss", input)
    labels = _labels("nll_loss", target, x, ignore_index)
    w = None if weight is None else array_of("nll_loss", weight).astype(x.dtype, copy=False)
    k = kernels.of(x.data)
    q, total = k.target_distribution(x.data, labels, w, ignore_index, 0.0)

    def slope(each: Array) -> Array:
        return ufunc("negative", ufunc("multiply", q, each[:, None]))

    return _class_loss("nll_loss", x, k.cross_entropy(x.data, q), total, slope, reduction)


def _class_loss(
    name: str,
    x: Tensor,
    losses: Array,
    total: Array,
    slope: Callable[[Array], Array],
    reduction: str,
) -> Tensor:
    """The losses (N, *S) reduced; `slope` turns their gradient into that of x."""
    module, shape = dev.array_module(losses), losses.shape

    def backward(gy: Array) -> tuple[Array | None, ...]:
        each = gy / total if reduction == "mean" else gy
        return (slope(module.broadcast_to(each, shape)),)

    if reduction == "none":
        return record(losses, (x,), backward, name)
    _check_reduction(name, reduction)
    y = losses.sum()
    return record(module.asarray(y / total if reduction == "mean" else y), (x,), backward, name)


def _logits(name: str, input: Any) -> Tensor:
    x = tensor_of(name, input)
    need_float(name, x)
    (x,) = widened(x)
    if x.ndim < 2:
        raise ValueError(f"{name}: input has shape {x.shape}, expected (N, C) or (N, C, *S)")
    return x


def _labels(name: str, target: Any, x: Tensor, ignore_index: int) -> Array:
    """The targets as an array; NumPy's are checked, a GPU's are not read back for it."""
    labels, classes = array_of(name, target), x.shape[1]
    expected = (x.shape[0], *x.shape[2:])
    if labels.shape != expected:
        raise ValueError(f"{name}: target has shape {labels.shape}, expected {expected}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: target has dtype {labels.dtype}, expected integers")
    if dev.device_of(labels) == "cpu":
        wrong = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
        if wrong.any():
            raise ValueError(f"{name}: target {labels[wrong][0]} is outside 0..{classes - 1}")
    return labels


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """Cross entropy of sigmoid(input) with targets in [0, 1] of the same shape, without overflow.

    `weight` scales each element and `pos_weight` its positive part; both broadcast.
    """
    name = "binary_cross_entropy_with_logits"
    x = tensor_of(name, input)
    need_float(name, x)
    (x,) = widened(x)
    a, t = x.data, array_of(name, target)
    if t.shape != a.shape:
        raise ValueError(f"{name}: target has shape {t.shape}, expected {a.shape}")
    t = t.astype(a.dtype, copy=False)
    positive: Any = 1.0 if pos_weight is None else array_of(name, pos_weight)
    if dev.is_array(positive):
        positive = positive.astype(a.dtype, copy=False)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        slope = kernels.of(gy).binary_cross_entropy_slope(a, t, positive)
        return (ufunc("multiply", gy, slope),)

    y = record(kernels.of(a).binary_cross_entropy(a, t, positive), (x,), backward, name)
    return _reduce(name, y if weight is None else y * weight, reduction)


def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The squared difference (book, 4.2.1, without its factor 1/2)."""
    return _difference_loss(
        "mse_loss",
        input,
        target,
        reduction,
        lambda d: ufunc("multiply", d, d),
        lambda d: ufunc("multiply", d, 2),
    )


def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """The absolute difference."""
    return _difference_loss(
        "l1_loss",
        input,
        target,
        reduction,
        lambda d: ufunc("absolute", d),
        lambda d: ufunc("sign", d),
    )


def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """Squared up to `delta`, linear beyond (Huber 1964): d^2 / 2, then delta (|d| - delta / 2)."""
    _positive("huber_loss", "delta", delta)
    return _difference_loss(
        "huber_loss",
        input,
        target,
        reduction,
        lambda d: kernels.of(d).huber(d, delta),
        lambda d: kernels.of(d).huber_slope(d, delta),
    )


def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` with delta = `beta`, divided by it (Girshick 2015, eq. 3)."""
    _positive("smooth_l1_loss", "beta", beta)
    return _difference_loss(
        "smooth_l1_loss",
        input,
        target,
        reduction,
        lambda d: ufunc("true_divide", kernels.of(d).huber(d, beta), beta),
        lambda d: ufunc("true_divide", kernels.of(d).huber_slope(d, beta), beta),
    )


def _difference_loss(
    name: str,
    input: Any,
    target: Any,
    reduction: str,
    value: Callable[[Array], Array],
    slope: Callable[[Array], Array],
) -> Tensor:
    """A loss of the difference input - target, which have one shape."""
    x, t = tensor_of(name, input), tensor_of(name, target, "target")
    need_float(name, x)
    x, t = widened(x, t)
    if x.shape != t.shape:
        raise ValueError(
            f"{name}: input has shape {x.shape}, target {t.shape}; expected equal ones"
        )
    difference = ufunc("subtract", x.data, t.data, dtype=dev.result_type(x.data, t.data))
    needs, dtypes = requires_grad(x, t), (x.dtype, t.dtype)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        gx = ufunc("multiply", gy, slope(difference))
        return (
            cast_to(gx, dtypes[0]) if needs[0] else None,
            cast_to(ufunc("negative", gx), dtypes[1]) if needs[1] else None,
        )

    return _reduce(name, record(value(difference), (x, t), backward, name), reduction)


def multi_margin_loss(
    input: Any, target: Any, *, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Multi-class hinge: sum over wrong classes of max(0, margin - x[target] + x[c]) / C.

    input (N, C), target (N,) integers (Crammer and Singer 2001).
    """
    name = "multi_margin_loss"
    x = tensor_of(name, input, ndim=2)
    need_float(name, x)
    labels = _labels(name, target, x, ignore_index=0)  # 0 is a class: none is ignored
    module, (n, classes) = dev.array_module(x.data), x.shape
    rows = module.arange(n)
    gap = margin - x.data[rows, labels][:, None] + x.data
    gap[rows, labels] = 0
    active = ufunc("greater", gap, 0, dtype=x.dtype)
    losses = (active * gap).sum(axis=1) / classes

    def backward(gy: Array) -> tuple[Array | None, ...]:
        gx = active.copy()
        gx[rows, labels] = -active.sum(axis=1)
        gx *= gy[:, None] / classes
        return (gx,)

    return _reduce(name, record(losses, (x,), backward, name), reduction)


def hinge_loss(input: Any, target: Any, reduction: str = "mean") -> Tensor:
    """max(0, 1 - target * input) with targets -1 and +1 of the same shape (a linear SVM's loss)."""
    x = tensor_of("hinge_loss", input)
    need_float("hinge_loss", x)
    t = array_of("hinge_loss", target).astype(x.dtype, copy=False)
    if t.shape != x.shape:
        raise ValueError(f"hinge_loss: target has shape {t.shape}, expected {x.shape}")
    y = ufunc("maximum", ufunc("subtract", 1, ufunc("multiply", x.data, t)), 0)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        active = ufunc("greater", y, 0, dtype=y.dtype)
        return (ufunc("negative", ufunc("multiply", gy, active * t)),)

    return _reduce("hinge_loss", record(y, (x,), backward), reduction)


def _reduce(name: str, losses: Tensor, reduction: str) -> Tensor:
    _check_reduction(name, reduction)
    return {"mean": mean, "sum": sum, "none": lambda x: x}[reduction](losses)


def _check_reduction(name: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: reduction {reduction!r}, expected 'mean', 'sum' or 'none'")


def _positive(name: str, what: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name}: {what} is {value}, expected a positive number")
