"""Is a backward pass right? Compared with differences of the forward pass (book, 4.4 and 5.7.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.device import is_array, to_host
from core.tape import no_grad
from core.tensor import Tensor

# How often the check steps aside when it stands on a kink.
_ATTEMPTS = 12
# Below this slope, errors count as if the slope were this large: differences carry rounding.
_SMALLEST_SLOPE = 1e-3


def numerical_gradient(
    f: Callable[[np.ndarray], Any], x: np.ndarray, step: float = 1e-4
) -> np.ndarray:
    """The gradient of `f` at `x` by central differences, one element at a time (book, 4.4).

    `f` takes `x` (floats, any shape), reads it and gives a number (or a tensor of one value).
    `x` is changed in between and restored. Two calls of `f` for each element: see
    `gradient_check` for something faster. Raises TypeError unless `x` is an array of floats.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        given = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"numerical_gradient: x is {given}, expected a NumPy array of floats")
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        try:
            x[index] = value + step
            above = float(f(x))
            x[index] = value - step
            below = float(f(x))
        finally:
            x[index] = value
        gradient[index] = (above - below) / (2 * step)
    return gradient


def gradient_check(
    f: Callable[..., Any],
    *inputs: Any,
    tolerance: float = 1e-6,
    step: float = 1e-5,
    seed: int = 0,
) -> float:
    """Check the backward pass of `f` in float64; the largest relative error that was seen.

    `f` takes the inputs and gives a tensor or several. Tensors and arrays of floats among
    the inputs are checked, on float64 copies; everything else is passed on as it is. For each
    input the slope along one random direction is compared with a central difference of the
    forward pass, so that an input costs a few forward passes however large it is. Where the
    function has a kink (two step sizes tell), the inputs are moved a little and drawn again.

    Raises AssertionError, naming the input and both slopes, when the relative error is above
    `tolerance`; ValueError when there is nothing to check.
    """
    rng = np.random.default_rng(seed)
    values = [_as_float64(x) for x in inputs]
    checked = [i for i, value in enumerate(values) if _is_float(value)]
    if not checked:
        raise ValueError("gradient_check: no input holds floats")
    for _ in range(_ATTEMPTS):
        point = _Point(f, values, checked, rng)
        slopes = [point.compare(i, step) for i in checked]
        if all(s.smooth for s in slopes):
            return max(_judge(s, tolerance) for s in slopes)
        for i in checked:
            values[i] = values[i] + 0.01 * rng.standard_normal(values[i].shape)
    raise AssertionError("gradient_check: the function has a kink wherever it was tried")


class _Slope(NamedTuple):
    """The slope along one direction of one input, by the backward and the forward pass."""

    input: int
    analytic: float
    numerical: float
    smooth: bool


class _Point:
    """The function at one set of inputs, weighed to a single number, with its gradients."""

    def __init__(
        self,
        f: Callable[..., Any],
        values: Sequence[Any],
        checked: Sequence[int],
        rng: np.random.Generator,
    ) -> None:
        self.f, self.values, self.rng = f, values, rng
        tensors = [Tensor(v, requires_grad=True) if _is_float(v) else v for v in values]
        outputs = _outputs(f(*tensors))
        if not outputs:
            raise ValueError("gradient_check: the function gives no floats")
        self.weights = [rng.standard_normal(y.shape) for y in outputs]
        for y, weight in zip(outputs, self.weights, strict=True):
            if y.requires_grad:
                y.backward(weight.astype(y.dtype), retain_graph=True)
        self.gradients = {i: tensors[i].grad for i in checked}
        self.here = self._weigh(outputs)

    def _weigh(self, outputs: Sequence[Tensor]) -> float:
        return sum(float((y.numpy() * w).sum()) for y, w in zip(outputs, self.weights, strict=True))

    def _moved(self, index: int, move: np.ndarray) -> float:
        values = [Tensor(v) if _is_float(v) else v for v in self.values]
        values[index] = Tensor(self.values[index] + move)
        with no_grad():
            return self._weigh(_outputs(self.f(*values)))

    def compare(self, index: int, step: float) -> _Slope:
        """The slope along a direction that the gradient, if there is any, does not miss."""
        gradient = self.gradients[index]
        g = np.zeros(self.values[index].shape) if gradient is None else gradient.numpy()
        directions = [self.rng.standard_normal(g.shape) for _ in range(4)]
        direction = max(directions, key=lambda d: abs((d * g).sum()))
        slopes, bends = [], []
        for h in (step, step / 2):
            above = self._moved(index, h * direction)
            below = self._moved(index, -h * direction)
            slopes.append((above - below) / (2 * h))
            bends.append(abs(above + below - 2 * self.here) / h)
        # On a smooth function the bend halves with the step; on a kink it does not.
        negligible = 1e-6 * max(abs(slopes[0]), 1.0, abs(self.here))
        smooth = bends[1] <= max(0.75 * bends[0], negligible)
        return _Slope(index, float((g * direction).sum()), slopes[0], smooth)


def _judge(slope: _Slope, tolerance: float) -> float:
    size = max(abs(slope.analytic), abs(slope.numerical), _SMALLEST_SLOPE)
    error = abs(slope.analytic - slope.numerical) / size
    if not error <= tolerance:
        raise AssertionError(
            f"gradient_check: input {slope.input}: the backward pass gives the slope "
            f"{slope.analytic:.10g}, differences give {slope.numerical:.10g} "
            f"(relative error {error:.2g}, tolerance {tolerance:.2g})"
        )
    return error


def _as_float64(x: Any) -> Any:
    array = x.data if isinstance(x, Tensor) else x
    if not is_array(array) or array.dtype.kind != "f":
        return x
    return np.array(to_host(array), np.float64)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def _outputs(result: Any) -> list[Tensor]:
    """The tensors of floats that `f` gave, however they are nested."""
    if isinstance(result, list | tuple):
        return [y for part in result for y in _outputs(part)]
    return [result] if isinstance(result, Tensor) and result.dtype.kind == "f" else []
