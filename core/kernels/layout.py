"""Memory layout: shapes are (N, C, *S) everywhere, memory may be channels-last.

Neither NumPy nor CuPy keeps a layout by itself, so results are allocated here, in the layout
of the first operand with channels, and array code writes into them through `out=`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.device import Array, array_module, in_order


def is_channels_last(x: Array) -> bool:
    """Whether (N, C, *S) lies in memory as (N, *S, C), and not as (N, C, *S) too."""
    if x.ndim < 3 or x.flags.c_contiguous:
        return False
    return bool(channels_last(x).flags.c_contiguous)


def channels_last(x: Array) -> Array:
    """The view (N, *S, C) of (N, C, *S)."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_first(x: Array) -> Array:
    """The view (N, C, *S) of (N, *S, C)."""
    return x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def to_channels_last(x: Array) -> Array:
    """(N, *S, C), contiguous, with the values of (N, C, *S); no copy where memory allows."""
    return array_module(x).ascontiguousarray(channels_last(x))


def empty(shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
    """A new array on the device and in the layout of `like`."""
    module = array_module(like)
    if len(shape) == like.ndim and is_channels_last(like):
        return channels_first(module.empty((shape[0], *shape[2:], shape[1]), dtype))
    return module.empty(shape, dtype)


def zeros(shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
    """As `empty`, filled with zeros."""
    result = empty(shape, dtype, like)
    result[...] = 0
    return result


def as_layout_of(x: Array, like: Array) -> Array:
    """`x` in the memory layout of `like`; no copy where it has it already."""
    if is_channels_last(like):
        return channels_first(to_channels_last(x))
    if like.flags.c_contiguous and not x.flags.c_contiguous:
        return array_module(x).ascontiguousarray(x)
    return x


def ufunc(name: str, *operands: Any, dtype: Any = None) -> Array:
    """NumPy's or CuPy's element-wise function `name`, channels-last when one of its operands is.

    Operands are arrays and Python numbers that broadcast; `dtype` is the result's (by
    default that of the first array). Raises TypeError for arrays of two devices.
    """
    arrays = [x for x in operands if not isinstance(x, bool | int | float)]
    array_module(*arrays)
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    whole = [x for x in arrays if x.ndim >= 3 and x.shape == shape]
    like = next((x for x in whole if is_channels_last(x)), (whole or arrays)[0])
    out = empty(shape, arrays[0].dtype if dtype is None else dtype, like)
    return ufunc_into(out, name, *operands)


def ufunc_into(out: Array, name: str, *operands: Any) -> Array:
    """`ufunc` written into `out`, which is returned."""
    module, target = array_module(out), out
    if module is not np and is_channels_last(out):
        # CuPy goes through its arrays in the order of their axes, wherever these lie in memory.
        target, operands = channels_last(out), tuple(_last(x, out.ndim) for x in operands)
    getattr(module, name)(*operands, out=target)
    return out


def _last(x: Any, ndim: int) -> Any:
    """x as it broadcasts to (N, *S, C) instead of (N, C, *S)."""
    if isinstance(x, bool | int | float):
        return x
    return channels_last(x.reshape(*(1,) * (ndim - x.ndim), *x.shape))


def write(target: Array, values: Array) -> None:
    """target[...] = values, in the order of memory where `target` is a part of channels-last."""
    if target.ndim >= 3 and target.strides[1] == target.itemsize:
        channels_last(target)[...] = channels_last(values)
    else:
        target[...] = values


def cast(x: Array, dtype: Any) -> Array:
    """A copy of x in `dtype`, its axes in the same order in memory."""
    return in_order(x, lambda dense: dense.astype(dtype))


def copy(x: Array) -> Array:
    """A copy of x, its axes in the same order in memory."""
    return in_order(x, lambda dense: dense.copy())
