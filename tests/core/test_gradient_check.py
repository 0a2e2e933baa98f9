"""The checks that check the gradients must themselves find what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import Tensor
from core import functional as F
from core.gradient_check import gradient_check, numerical_gradient
from core.tensor import record


def test_the_books_numerical_gradient() -> None:
    """f(x0, x1) = x0^2 + x1^2 has the gradient (2 x0, 2 x1)."""
    x = np.array([3.0, 4.0])
    assert np.allclose(numerical_gradient(lambda v: (v**2).sum(), x), [6, 8])
    assert x.tolist() == [3, 4]


def test_numerical_gradient_of_any_shape_and_of_tensors() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3))
    found = numerical_gradient(lambda v: (Tensor(v) ** 3).sum(), x)
    assert np.allclose(found, 3 * x**2, atol=1e-6)
    assert numerical_gradient(lambda v: float(v) ** 2, np.array(3.0)).shape == ()


def test_numerical_gradient_restores_x_when_f_fails() -> None:
    x = np.array([1.0, 2.0])

    def f(v: np.ndarray) -> float:
        if v[1] != 2.0:
            raise RuntimeError("broken")
        return 0.0

    with pytest.raises(RuntimeError, match="broken"):
        numerical_gradient(f, x)
    assert x.tolist() == [1, 2]


@pytest.mark.parametrize("x", [np.array([1, 2]), [1.0, 2.0]])
def test_numerical_gradient_takes_floats(x: Any) -> None:
    with pytest.raises(TypeError, match="expected a NumPy array of floats"):
        numerical_gradient(lambda v: v.sum(), x)


def test_a_right_gradient_passes_with_a_small_error() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 5, 5)), rng.standard_normal((4, 3, 3, 3))
    assert gradient_check(F.conv2d, x, w) < 1e-8


def broken(factor: float, where: Any = ...) -> Any:
    """The square, whose gradient is wrong by `factor` at some elements."""

    def square(x: Tensor) -> Tensor:
        a = x.data

        def backward(gy: np.ndarray) -> tuple[np.ndarray]:
            gx = 2 * a * gy
            gx[where] *= factor
            return (gx,)

        return record(a * a, (x,), backward)

    return square


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.00001, -1.0, float("nan")])
def test_a_wrong_gradient_is_found(factor: float) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    with pytest.raises(AssertionError, match=r"input 0: the backward pass gives the slope"):
        gradient_check(broken(factor), x)


def test_a_single_wrong_element_is_found() -> None:
    x = np.random.default_rng(0).standard_normal((10, 10))
    with pytest.raises(AssertionError, match="input 0"):
        gradient_check(broken(0.99, (3, 4)), x)


def test_the_wrong_input_is_named() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(5), rng.standard_normal(5)
    with pytest.raises(AssertionError, match=r"input 1: .* slope .* differences give"):
        gradient_check(lambda x, y: x * 2 + broken(0.5)(y), a, b)


def test_a_missing_gradient_is_found() -> None:
    with pytest.raises(AssertionError, match="input 0: the backward pass gives the slope 0"):
        gradient_check(lambda x: x.detach() * x.detach(), np.ones(3))


def test_it_steps_away_from_kinks() -> None:
    assert gradient_check(F.relu, np.zeros((4, 5))) < 1e-6
    assert gradient_check(F.abs, np.full(6, 1e-6)) < 1e-6
    assert gradient_check(lambda x: F.max(x, 1)[0], np.ones((3, 4))) < 1e-6


def test_it_gives_up_where_everything_is_a_kink() -> None:
    kink = np.zeros(5)

    def follows(x: Tensor) -> Tensor:
        if x.requires_grad:
            kink[...] = x.data
        return record(np.abs(x.data - kink), (x,), lambda gy: (gy,))

    with pytest.raises(AssertionError, match="a kink wherever it was tried"):
        gradient_check(follows, np.ones(5))


def test_inputs_are_copied_and_may_be_anything() -> None:
    x, labels = np.ones((3, 4), np.float32), np.array([0, 1, 2])
    tensor = Tensor(x, requires_grad=True)
    assert gradient_check(F.cross_entropy, tensor, labels) < 1e-6
    assert tensor.grad is None and tensor.dtype == np.float32 and (x == 1).all()


def test_several_outputs_are_checked() -> None:
    def f(x: Tensor) -> Any:
        return x.exp(), (x * 2, F.argmax(x))

    assert gradient_check(f, np.random.default_rng(0).standard_normal(4)) < 1e-6


def test_there_must_be_something_to_check() -> None:
    with pytest.raises(ValueError, match="gradient_check: no input holds floats"):
        gradient_check(F.one_hot, np.array([1]), 3)


def test_a_function_without_floats_is_not_checked() -> None:
    with pytest.raises(ValueError, match="gives no floats"):
        gradient_check(lambda x: x.argmax(), np.ones(3))
