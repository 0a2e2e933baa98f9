"""What every operation does with its operands before it computes."""

from __future__ import annotations

import operator
from typing import Any

from core import device as dev
from core.device import Array
from core.kernels.layout import ufunc
from core.tensor import Tensor, as_array


def array_of(operation: str, value: Any) -> Any:
    """The array of a tensor or array, or the Python number itself.

    Raises TypeError for anything else.
    """
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, bool | int | float) or dev.is_array(value):
        return value
    try:
        return as_array(value)
    except TypeError:
        raise TypeError(
            f"{operation}: got a {type(value).__name__}, expected a tensor, array or number"
        ) from None


def tensor_of(operation: str, value: Any, name: str = "input", ndim: int | None = None) -> Tensor:
    """`value` as a Tensor (arrays are wrapped), with `ndim` axes if given.

    Raises TypeError for anything else, ValueError for another number of axes.
    """
    if not isinstance(value, Tensor):
        if isinstance(value, bool | int | float) or not dev.is_array(value):
            raise TypeError(
                f"{operation}: {name} is a {type(value).__name__}, expected a tensor or array"
            )
        value = Tensor(value)
    if ndim is not None and value.ndim != ndim:
        raise ValueError(f"{operation}: {name} has shape {value.shape}, expected {ndim} axes")
    return value


def need_float(operation: str, x: Tensor, name: str = "input") -> None:
    """Raise TypeError unless `x` holds floats."""
    if not dev.is_float(x.dtype):
        raise TypeError(f"{operation}: {name} has dtype {x.dtype}, expected a float dtype")


def axis_of(operation: str, dim: int, ndim: int) -> int:
    """`dim` counted from the front; IndexError when there is no such axis."""
    if not -ndim <= dim < ndim:
        raise IndexError(f"{operation}: dim {dim} is out of range for {ndim} axes")
    return dim % ndim


def axes_of(operation: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """The axes that `dim` names (None or () mean all), sorted and without repeats."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return tuple(range(ndim))
    dims = tuple(dim) if isinstance(dim, list | tuple) else (operator.index(dim),)
    axes = sorted(axis_of(operation, d, ndim) for d in dims)
    if len(set(axes)) != len(axes):
        raise ValueError(f"{operation}: dim {dims} names an axis twice")
    return tuple(axes)


def pair(value: Any, n: int = 2) -> tuple[int, ...]:
    """One integer for each of `n` spatial axes, from one or a sequence of `n`."""
    values = (value,) * n if not isinstance(value, list | tuple) else tuple(value)
    if len(values) != n:
        raise ValueError(f"expected one number or {n}, got {values}")
    try:
        return tuple(operator.index(v) for v in values)
    except TypeError:
        raise TypeError(f"expected integers, got {values}") from None


def sum_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """`gradient` summed over the axes along which `shape` was broadcast."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    repeated = tuple(added + i for i, n in enumerate(shape) if n == 1 != gradient.shape[added + i])
    module = dev.array_module(gradient)
    total = module.asarray(gradient.sum(axis=tuple(range(added)) + repeated, keepdims=True))
    return total.reshape(shape)


def cast_to(gradient: Array, dtype: Any) -> Array:
    """`gradient` in `dtype`; the same object when it has it."""
    if gradient.dtype == dtype:
        return gradient
    return ufunc("add", gradient, 0, dtype=dtype)
