"""The bench: one description of a call, run in every dtype, layout and device.

A case names an operation, draws its operands and calls it. The same call is made with the
core's functions on NumPy arrays and on the strict fake device, and with PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import Tensor
from core import functional as F
from core.tape import Node

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Given:
    """An operand: how its values are drawn, and whether a gradient is asked for."""

    draw: Callable[[np.random.Generator], np.ndarray]
    grad: bool = True

    def array(self, rng: np.random.Generator, dtype: str) -> np.ndarray:
        values = self.draw(rng)
        return values.astype(dtype) if values.dtype.kind == "f" else values


def normal(*shape: int, grad: bool = True) -> Given:
    """Standard normal values."""
    return Given(lambda rng: rng.standard_normal(shape), grad)


def positive(*shape: int, low: float = 0.5, high: float = 2.0, grad: bool = True) -> Given:
    """Values in [low, high)."""
    return Given(lambda rng: rng.uniform(low, high, shape), grad)


def apart(*shape: int, grad: bool = True) -> Given:
    """Shuffled values in (-2, 2), all different and none near zero: away from kinks and ties."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        size = int(np.prod(shape))
        values = (np.arange(size) + 0.5) * (4.0 / size) - 2.0 + 0.3 / size
        return rng.permutation(values).reshape(shape)

    return Given(draw, grad)


def integers(high: int, *shape: int, low: int = 0) -> Given:
    """int64 in [low, high)."""
    return Given(lambda rng: rng.integers(low, high, shape), False)


def mask(*shape: int) -> Given:
    """Bools, about half of them true."""
    return Given(lambda rng: rng.random(shape) < 0.5, False)


def fixed(values: Any, grad: bool = False) -> Given:
    """These very values (floats take the dtype under test)."""
    return Given(lambda rng: np.array(values), grad)


@dataclass(frozen=True)
class Case:
    """One call of one operation.

    `run(F, *operands)` makes the call; `peer` does so with PyTorch where the same words do
    not (None: PyTorch has no such operation). `numerical` is False where the gradient is not
    the derivative on purpose. `keeps_dtype` and `keeps_layout` say what holds of the result:
    the operands' dtype, and channels-last for channels-last operands.
    """

    function: str
    run: Callable[..., Any]
    given: tuple[Given, ...]
    label: str = ""
    peer: Callable[..., Any] | str | None = "same"
    gradient: bool = True
    numerical: bool = True
    keeps_dtype: bool = True
    keeps_layout: bool = True

    def __str__(self) -> str:
        return f"{self.function}-{self.label}" if self.label else self.function

    def arrays(self, dtype: str) -> list[np.ndarray]:
        rng = np.random.default_rng(sum(map(ord, str(self))))
        return [g.array(rng, dtype) for g in self.given]


def case(function: str, run: Callable[..., Any], *given: Given, **options: Any) -> Case:
    """A case; `run` is a lambda over (F, *operands)."""
    return Case(function, run, given, **options)


# ---------------------------------------------------------------------------- layouts


def contiguous(x: np.ndarray) -> np.ndarray:
    """In C order."""
    return np.array(x, order="C")


def strided(x: np.ndarray) -> np.ndarray:
    """The same values as a view with gaps, its first axis running backwards."""
    if not x.ndim:
        return x.copy()
    gaps = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    view = gaps[::-1, ..., ::2] if x.ndim > 1 else gaps[::-2]
    view[...] = x
    return view


def channels_last(x: np.ndarray) -> np.ndarray:
    """The same values, in memory (N, *S, C) where there are that many axes."""
    if x.ndim < 3:
        return x.copy()
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(
        0, x.ndim - 1, *range(1, x.ndim - 1)
    )


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": contiguous,
    "strided": strided,
    "channels_last": channels_last,
}


# ---------------------------------------------------------------------------- running


def flat(result: Any) -> list[Any]:
    """The tensors in whatever an operation gave."""
    if isinstance(result, list | tuple):
        return [y for part in result for y in flat(part)]
    return [result]


def tensors_of(
    case: Case, arrays: Sequence[Any], *, frozen: frozenset[int] = frozenset()
) -> list[Tensor]:
    """The operands as tensors; those in `frozen` ask for no gradient."""
    return [
        Tensor(a, requires_grad=case.gradient and g.grad and i not in frozen)
        for i, (a, g) in enumerate(zip(arrays, case.given, strict=True))
    ]


def floats(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs that a gradient can flow through."""
    return [y for y in outputs if y.requires_grad]


def output_gradients(outputs: Sequence[Any], seed: int = 7) -> list[np.ndarray]:
    """One gradient for each output."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(tuple(y.shape)) for y in outputs]


def run(
    case: Case,
    arrays: Sequence[Any],
    convert: Callable[[np.ndarray], Any] = lambda a: a,
    frozen: frozenset[int] = frozenset(),
) -> tuple[list[Tensor], list[Any]]:
    """(outputs, the gradient's array for each operand); `convert` brings gradients over."""
    tensors = tensors_of(case, arrays, frozen=frozen)
    outputs = flat(case.run(F, *tensors))
    wanted = floats(outputs)
    for y, gy in zip(wanted, output_gradients(wanted), strict=True):
        y.backward(Tensor(convert(gy.astype(y.dtype))), retain_graph=True)
    return outputs, [None if t.grad is None else t.grad.data for t in tensors]


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The norm of the difference over the norm of what was expected."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    difference = float(np.linalg.norm((actual.astype("f8") - expected.astype("f8")).ravel()))
    size = float(np.linalg.norm(expected.astype("f8").ravel()))
    return difference / size if size else difference


def graph(*outputs: Tensor) -> list[Node]:
    """Every node that the outputs hang on."""
    found: dict[int, Node] = {}
    waiting = [y.node for y in outputs]
    while waiting:
        node = waiting.pop()
        if node is not None and id(node) not in found:
            found[id(node)] = node
            waiting.extend(node.parents)
    return list(found.values())


# ---------------------------------------------------------------------------- what to cover

# Tested elsewhere, with the reason.
EXEMPT = {"to_device": "moves between devices: tests/core/test_device.py"}


def public_functions() -> set[str]:
    """The names of all operations."""
    return {
        name
        for name, value in vars(F).items()
        if callable(value) and not name.startswith("_") and _is_operation(value)
    }


def _is_operation(value: Any) -> bool:
    return not isinstance(value, type) and value.__module__.startswith("core.functional")
