"""Element-wise arithmetic with broadcasting, comparisons and the matrix product.

Book, chapters 4 and 5 (addition and multiplication nodes), and PyTorch's rules of
broadcasting and type promotion.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from core import device as dev
from core import kernels
from core.amp import narrowed
from core.device import Array
from core.functional.operands import array_of, cast_to, sum_to, tensor_of
from core.kernels import layout
from core.kernels.layout import empty, ufunc
from core.tensor import Tensor, record, requires_grad


def _operands(operation: str, x: Any, y: Any) -> tuple[Any, Any, np.dtype]:
    a, b = array_of(operation, x), array_of(operation, y)
    if _number(a) and _number(b):
        raise TypeError(f"{operation}: got two numbers, expected a tensor or array among them")
    _broadcast(operation, a, b)
    dtype = dev.result_type(a, b)
    return _narrow(a, dtype), _narrow(b, dtype), dtype


def _broadcast(operation: str, *operands: Any) -> tuple[int, ...]:
    shapes = [() if _number(x) else x.shape for x in operands]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(map(str, shapes))
        raise ValueError(f"{operation}: shapes {listed} do not broadcast") from None


def _narrow(operand: Any, dtype: np.dtype) -> Any:
    """A 0-d integer in the integer dtype of the result, into which NumPy would not write it."""
    if _number(operand) or operand.dtype.kind not in "iu" or dtype.kind not in "iu":
        return operand
    return operand.astype(dtype, copy=False)


def _number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _fit(gradient: Array, like: Any) -> Array:
    """`gradient` in the shape and dtype of the operand `like`."""
    return cast_to(sum_to(gradient, like.shape), like.dtype)


def _float_result(dtype: np.dtype) -> np.dtype:
    return dtype if dev.is_float(dtype) else dev.get_default_dtype()


def add(x: Any, y: Any) -> Tensor:
    """x + y, broadcast."""
    a, b, dtype = _operands("add", x, y)
    needs = requires_grad(x, y)

    def backward(gz: Array) -> tuple[Array | None, ...]:
        return (_fit(gz, a) if needs[0] else None, _fit(gz, b) if needs[1] else None)

    z = ufunc("add", a, b, dtype=dtype)
    a, b = _like(a), _like(b)
    return record(z, (x, y), backward)


class _like:
    """Shape and dtype of an operand, for a backward that does not need its values."""

    __slots__ = ("dtype", "shape")

    def __init__(self, operand: Any) -> None:
        self.shape = getattr(operand, "shape", ())
        self.dtype = getattr(operand, "dtype", None)


def sub(x: Any, y: Any) -> Tensor:
    """x - y, broadcast."""
    a, b, dtype = _operands("sub", x, y)
    needs = requires_grad(x, y)

    def backward(gz: Array) -> tuple[Array | None, ...]:
        return (
            _fit(gz, a) if needs[0] else None,
            _fit(ufunc("negative", gz), b) if needs[1] else None,
        )

    z = ufunc("subtract", a, b, dtype=dtype)
    a, b = _like(a), _like(b)
    return record(z, (x, y), backward)


def mul(x: Any, y: Any) -> Tensor:
    """x * y element by element, broadcast."""
    a, b, dtype = _operands("mul", x, y)
    needs = requires_grad(x, y)
    kept_a, kept_b = a if needs[1] else None, b if needs[0] else None
    like_a, like_b = _like(a), _like(b)

    def backward(gz: Array) -> tuple[Array | None, ...]:
        return (
            _fit(ufunc("multiply", gz, kept_b), like_a) if needs[0] else None,
            _fit(ufunc("multiply", gz, kept_a), like_b) if needs[1] else None,
        )

    return record(ufunc("multiply", a, b, dtype=dtype), (x, y), backward)


def div(x: Any, y: Any) -> Tensor:
    """x / y element by element, broadcast; integers give the default float dtype."""
    a, b, dtype = _operands("div", x, y)
    needs = requires_grad(x, y)
    z = ufunc("true_divide", a, b, dtype=_float_result(dtype))
    like_a, like_b = _like(a), _like(b)
    kept_z = z if needs[1] else None

    def backward(gz: Array) -> tuple[Array | None, ...]:
        gx = ufunc("true_divide", gz, b)
        gy = ufunc("negative", ufunc("multiply", gx, kept_z)) if needs[1] else None
        return (
            _fit(gx, like_a) if needs[0] else None,
            _fit(gy, like_b) if needs[1] else None,
        )

    return record(z, (x, y), backward)


def pow(x: Any, exponent: Any) -> Tensor:
    """x to the power of `exponent`, broadcast; either may be a number.

    The gradient for the exponent is zero where x is zero, as in PyTorch.
    """
    a, b, dtype = _operands("pow", x, exponent)
    needs = requires_grad(x, exponent)
    z = ufunc("power", a, b, dtype=dtype)
    like_a, like_b = _like(a), _like(b)
    kept_z = z if needs[1] else None

    def backward(gz: Array) -> tuple[Array | None, ...]:
        gx = gb = None
        if needs[0]:
            gx = ufunc("multiply", gz, _power_slope(a, b, gz.dtype))
        if needs[1]:
            gb = ufunc("multiply", ufunc("multiply", gz, kept_z), _log_or_zero(a, gz.dtype))
        return (
            None if gx is None else _fit(gx, like_a),
            None if gb is None else _fit(gb, like_b),
        )

    return record(z, (x, exponent), backward)


def _power_slope(a: Any, b: Any, dtype: np.dtype) -> Array:
    """b * a ** (b - 1), and 0 where b is 0, whatever a is."""
    if _number(b):
        return ufunc("multiply", ufunc("power", a, b - 1 if b else 0, dtype=dtype), b)
    nothing = ufunc("equal", b, 0, dtype=dtype)
    power = ufunc("power", a, ufunc("add", ufunc("subtract", b, 1), nothing), dtype=dtype)
    return ufunc("multiply", power, b)


def _log_or_zero(a: Any, dtype: np.dtype) -> Any:
    """log(a), and 0 where a is 0."""
    if _number(a):
        return math.log(a) if a else 0.0
    return ufunc("log", ufunc("add", a, ufunc("equal", a, 0, dtype=dtype), dtype=dtype))


def matmul(x: Any, y: Any) -> Tensor:
    """The matrix product over the last two axes, the others broadcast; 1-d operands are vectors.

    Shapes (..., n, k) and (..., k, m) give (..., n, m). Raises ValueError when k differs.
    """
    x, y = narrowed(tensor_of("matmul", x), tensor_of("matmul", y, "other"))
    a, b = x.data, y.data
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[max(-2, -b.ndim)]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"matmul: shapes {a.shape} and {b.shape} do not broadcast before their last two axes"
        ) from None
    if a.dtype != b.dtype:
        raise TypeError(f"matmul: dtypes {a.dtype} and {b.dtype}, expected equal ones")
    needs = requires_grad(x, y)
    kept_a, kept_b = a if needs[1] else None, b if needs[0] else None
    like_a, like_b = _like(a), _like(b)
    z = dev.array_module(a, b).asarray(kernels.of(a, b).matmul(a, b))

    def backward(gz: Array) -> tuple[Array | None, ...]:
        rows = gz[..., None] if len(like_b.shape) == 1 else gz
        if len(like_a.shape) == 1:
            rows = rows[..., None, :]
        ga = gb = None
        if kept_b is not None:
            other = kept_b[:, None] if kept_b.ndim == 1 else kept_b
            ga = kernels.of(rows, other).matmul(rows, other.swapaxes(-1, -2))
            ga = _fit(ga[..., 0, :] if len(like_a.shape) == 1 else ga, like_a)
        if kept_a is not None:
            other = kept_a[None, :] if kept_a.ndim == 1 else kept_a
            gb = kernels.of(rows, other).matmul(other.swapaxes(-1, -2), rows)
            gb = _fit(gb[..., 0] if len(like_b.shape) == 1 else gb, like_b)
        return ga, gb

    return record(z, (x, y), backward)


def neg(x: Any) -> Tensor:
    """-x."""
    x = tensor_of("neg", x)

    def backward(gz: Array) -> tuple[Array | None, ...]:
        return (ufunc("negative", gz),)

    return record(ufunc("negative", x.data), (x,), backward)


def _map(name: str, x: Any, slope: Callable[[Array], Array]) -> Tensor:
    """The element-wise function `name`; `slope` gives its derivative from its result."""
    x = tensor_of(name, x)
    y = ufunc(name, x.data, dtype=_float_result(x.dtype))

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (ufunc("multiply", gy, slope(y)),)

    return record(y, (x,), backward, name)


def exp(x: Any) -> Tensor:
    """e to the power of each value."""
    return _map("exp", x, lambda y: y)


def sqrt(x: Any) -> Tensor:
    """The square root of each value."""
    return _map("sqrt", x, lambda y: ufunc("true_divide", 0.5, y))


def log(x: Any) -> Tensor:
    """The natural logarithm of each value."""
    x = tensor_of("log", x)
    a = x.data

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (ufunc("true_divide", gy, a),)

    return record(ufunc("log", a, dtype=_float_result(a.dtype)), (x,), backward)


def abs(x: Any) -> Tensor:
    """The absolute value of each value; its gradient at zero is zero."""
    x = tensor_of("abs", x)
    a = x.data

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (ufunc("multiply", gy, ufunc("sign", a)),)

    return record(ufunc("absolute", a), (x,), backward)


def clamp(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """Each value, at least `min` and at most `max` (numbers); outside, the gradient is zero."""
    x = tensor_of("clamp", x)
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    a = y = x.data
    if min is not None:
        y = ufunc("maximum", y, min, dtype=dev.result_type(y, min))
    if max is not None:
        y = ufunc("minimum", y, max, dtype=dev.result_type(y, max))

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (ufunc("multiply", gy, ufunc("equal", a, y, dtype=bool)),)

    return record(y, (x,), backward)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of x and y, broadcast; where they are equal each gets half the gradient."""
    return _extreme("maximum", x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of x and y, broadcast; where they are equal each gets half the gradient."""
    return _extreme("minimum", x, y)


def _extreme(name: str, x: Any, y: Any) -> Tensor:
    a, b, dtype = _operands(name, x, y)
    needs = requires_grad(x, y)
    z = ufunc(name, a, b, dtype=dtype)

    def backward(gz: Array) -> tuple[Array | None, ...]:
        half = ufunc("multiply", ufunc("equal", a, b, dtype=bool), 0.5, dtype=gz.dtype)

        def share(operand: Any) -> Array:
            won = ufunc("subtract", ufunc("equal", operand, z, dtype=gz.dtype), half)
            return _fit(ufunc("multiply", gz, won), operand)

        return (share(a) if needs[0] else None, share(b) if needs[1] else None)

    return record(z, (x, y), backward, name)


def where(condition: Any, x: Any, y: Any) -> Tensor:
    """x where `condition` (bool) holds and y elsewhere, all three broadcast."""
    mask = tensor_of("where", condition, "condition").data
    if mask.dtype != bool:
        raise TypeError(f"where: condition has dtype {mask.dtype}, expected bool")
    a, b = array_of("where", x), array_of("where", y)
    shape, dtype = _broadcast("where", mask, a, b), dev.result_type(a, b)
    needs = requires_grad(x, y)
    like_a, like_b = _like(a), _like(b)

    def choose(first: Any, second: Any, dtype: np.dtype) -> Array:
        arrays = [v for v in (first, second, mask) if not _number(v)]
        z = empty(shape, dtype, next((v for v in arrays if v.shape == shape), mask))
        z[...] = second
        dev.array_module(*arrays).copyto(z, first, where=mask, casting="unsafe")
        return z

    def backward(gz: Array) -> tuple[Array | None, ...]:
        return (
            _fit(choose(gz, 0, gz.dtype), like_a) if needs[0] else None,
            _fit(choose(0, gz, gz.dtype), like_b) if needs[1] else None,
        )

    return record(choose(a, b, dtype), (x, y), backward)


def _compare(name: str, x: Any, y: Any) -> Tensor:
    a, b, _ = _operands(name, x, y)
    return Tensor(ufunc(name, a, b, dtype=bool))


def eq(x: Any, y: Any) -> Tensor:
    """Whether x equals y, element by element."""
    return _compare("equal", x, y)


def ne(x: Any, y: Any) -> Tensor:
    """Whether x differs from y, element by element."""
    return _compare("not_equal", x, y)


def lt(x: Any, y: Any) -> Tensor:
    """Whether x is less than y, element by element."""
    return _compare("less", x, y)


def le(x: Any, y: Any) -> Tensor:
    """Whether x is at most y, element by element."""
    return _compare("less_equal", x, y)


def gt(x: Any, y: Any) -> Tensor:
    """Whether x is greater than y, element by element."""
    return _compare("greater", x, y)


def ge(x: Any, y: Any) -> Tensor:
    """Whether x is at least y, element by element."""
    return _compare("greater_equal", x, y)


def logical_and(x: Any, y: Any) -> Tensor:
    """Whether x and y both hold (are not zero), element by element."""
    return _compare("logical_and", x, y)


def logical_or(x: Any, y: Any) -> Tensor:
    """Whether x or y holds (is not zero), element by element."""
    return _compare("logical_or", x, y)


def logical_not(x: Any) -> Tensor:
    """Whether x is zero, element by element."""
    return Tensor(ufunc("logical_not", tensor_of("logical_not", x).data, dtype=bool))


def cast(x: Any, dtype: Any) -> Tensor:
    """x in another dtype; the gradient comes back in x's own (`Tensor.to`).

    Integers and bools have no gradient: it ends there.
    """
    x = tensor_of("cast", x)
    wanted, own = np.dtype(dtype), x.dtype
    if wanted == own:
        return x

    if not dev.is_float(wanted):
        return Tensor(layout.cast(x.data, wanted))

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (gy.astype(own),)

    return record(layout.cast(x.data, wanted), (x,), backward)


def to_device(x: Any, device: str) -> Tensor:
    """x on "cpu" or "cuda"; the gradient comes back to x's own device (`Tensor.to`)."""
    x = tensor_of("to_device", x)
    own = x.device
    if own == device:
        return x

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (dev.to_device(gy, own),)

    return record(dev.to_device(x.data, device), (x,), backward)
