"""Sums, means, extremes: many values into one."""

from __future__ import annotations

import math
from typing import Any

from core import device as dev
from core.device import Array
from core.functional.operands import axes_of, axis_of, need_float, tensor_of
from core.kernels.layout import ufunc
from core.tensor import Tensor, record


def _spread(gy: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The gradient of a reduction over `axes` (with or without keepdim), broadcast to `shape`."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return dev.array_module(gy).broadcast_to(gy.reshape(kept), shape)


def sum(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum over `dim` (an axis, several, or all); integers are summed as int64."""
    x = tensor_of("sum", x)
    axes, shape = axes_of("sum", dim, x.ndim), x.shape
    dtype = x.dtype if dev.is_float(x.dtype) else dev.int64
    y = x.data.sum(axis=axes, keepdims=keepdim, dtype=dtype)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (_spread(gy, axes, shape),)

    return record(_array(y, x), (x,), backward)


def mean(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The mean over `dim` (an axis, several, or all) of floats."""
    x = tensor_of("mean", x)
    need_float("mean", x)
    axes, shape = axes_of("mean", dim, x.ndim), x.shape
    count = math.prod(shape[a] for a in axes)
    # float16 sums in float32: 65,504 is its largest number.
    y = x.data.mean(axis=axes, keepdims=keepdim)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (_spread(ufunc("true_divide", gy, count), axes, shape),)

    return record(_array(y, x), (x,), backward)


def var(x: Any, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The variance over `dim` of floats: squared deviations over the count minus `correction`."""
    x = tensor_of("var", x)
    need_float("var", x)
    axes = axes_of("var", dim, x.ndim)
    count = math.prod(x.shape[a] for a in axes) - correction
    if count <= 0:
        raise ValueError(f"var: shape {x.shape} leaves {count} degrees of freedom over dim {dim}")
    deviation = x.data - x.data.mean(axis=axes, keepdims=True)
    y = (deviation * deviation).sum(axis=axes, keepdims=keepdim) / x.dtype.type(count)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        scale = ufunc("multiply", _spread(gy, axes, deviation.shape), 2.0 / count)
        return (ufunc("multiply", deviation, scale),)

    return record(_array(y, x), (x,), backward)


def std(x: Any, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """The square root of `var`."""
    return var(x, dim, correction=correction, keepdim=keepdim).sqrt()


def amax(x: Any, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The largest value over `dim`; ties share the gradient evenly."""
    return _extreme("max", x, dim, keepdim)


def amin(x: Any, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The smallest value over `dim`; ties share the gradient evenly."""
    return _extreme("min", x, dim, keepdim)


def _extreme(name: str, x: Any, dim: Any, keepdim: bool) -> Tensor:
    x = tensor_of(f"a{name}", x)
    a, axes = x.data, axes_of(f"a{name}", dim, x.ndim)
    if not a.size:
        raise ValueError(f"a{name}: tensor of shape {x.shape} has no values")
    best = getattr(a, name)(axis=axes, keepdims=True)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        ties = ufunc("equal", a, best, dtype=gy.dtype)
        share = ufunc("true_divide", ties, ties.sum(axis=axes, keepdims=True))
        return (ufunc("multiply", share, _spread(gy, axes, a.shape)),)

    y = best if keepdim else best.reshape([n for i, n in enumerate(a.shape) if i not in axes])
    return record(_array(y, x), (x,), backward, f"a{name}")


def max(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The largest value; with `dim` the pair (values, indices of the first largest)."""
    return amax(x) if dim is None else _with_indices("argmax", x, dim, keepdim)


def min(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest value; with `dim` the pair (values, indices of the first smallest)."""
    return amin(x) if dim is None else _with_indices("argmin", x, dim, keepdim)


def _with_indices(name: str, x: Any, dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    x = tensor_of(name[3:], x)
    axis, shape, dtype = axis_of(name[3:], dim, x.ndim), x.shape, x.dtype
    module = dev.array_module(x.data)
    chosen = module.expand_dims(getattr(x.data, name)(axis=axis), axis)
    y = module.take_along_axis(x.data, chosen, axis)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        gx = module.zeros(shape, dtype)
        module.put_along_axis(gx, chosen, gy.reshape(chosen.shape), axis)
        return (gx,)

    if keepdim:
        return record(y, (x,), backward, name[3:]), Tensor(chosen)
    return record(y.squeeze(axis), (x,), backward, name[3:]), Tensor(chosen.squeeze(axis))


def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first largest value along `dim`, or in the flattened tensor."""
    return _arg("argmax", x, dim, keepdim)


def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The index of the first smallest value along `dim`, or in the flattened tensor."""
    return _arg("argmin", x, dim, keepdim)


def _arg(name: str, x: Any, dim: int | None, keepdim: bool) -> Tensor:
    x = tensor_of(name, x)
    if dim is None:
        return Tensor(_array(getattr(x.data.reshape(-1), name)(), x))
    axis = axis_of(name, dim, x.ndim)
    index = getattr(x.data, name)(axis=axis)
    if keepdim:
        index = dev.array_module(x.data).expand_dims(index, axis)
    return Tensor(_array(index, x))


def logsumexp(x: Any, dim: int, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) along `dim`, computed without overflow."""
    x = tensor_of("logsumexp", x)
    need_float("logsumexp", x)
    axis, a = axis_of("logsumexp", dim, x.ndim), x.data
    if not a.size:
        raise ValueError(f"logsumexp: tensor of shape {x.shape} has no values")
    best = a.max(axis=axis, keepdims=True)
    # An infinite maximum is the result: inf - inf would be no number.
    finite, where = ufunc("isfinite", best, dtype=bool), dev.array_module(a).where
    shifted = ufunc("exp", a - where(finite, best, a.dtype.type(0)))
    total = where(finite, shifted.sum(axis=axis, keepdims=True), a.dtype.type(1))
    y = ufunc("log", total) + best

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (ufunc("multiply", shifted, gy.reshape(total.shape) / total),)

    return record(_array(y if keepdim else y.squeeze(axis), x), (x,), backward)


def _array(y: Any, like: Tensor) -> Array:
    """NumPy reduces to scalars, not to 0-d arrays; this makes them arrays again."""
    return dev.array_module(like.data).asarray(y)
