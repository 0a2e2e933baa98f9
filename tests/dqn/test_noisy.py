"""The noisy layer: noise of the published form, in training only."""

import numpy as np
import pytest

import core
from core import Tensor
from dqn.noisy import NoisyLinear


def test_in_evaluation_it_is_a_linear_layer() -> None:
    core.seed(0)
    layer = NoisyLinear(3, 2).eval()
    x = np.ones((1, 3), np.float32)
    expected = x @ layer.weight.numpy().T + layer.bias.numpy()
    assert layer(Tensor(x)).numpy() == pytest.approx(expected)


def test_the_noise_is_factorised_and_stays_until_it_is_drawn_anew() -> None:
    core.seed(0)
    layer = NoisyLinear(3, 2)
    x = Tensor(np.eye(3, dtype=np.float32))
    first = layer(x).numpy()
    assert np.array_equal(layer(x).numpy(), first)
    noise = (first - layer.eval()(x).numpy()).T  # (2, 3): of the weights, and of the bias
    outward = layer.bias_noise.numpy() * layer.bias_sigma.numpy()
    factor = (noise - outward[:, None]) / layer.weight_sigma.numpy()
    assert np.linalg.matrix_rank(factor.astype(np.float64), tol=1e-4) == 1
    layer.train().reset_noise()
    assert not np.allclose(layer(x).numpy(), first)


def test_its_start_and_its_spread() -> None:
    core.seed(0)
    layer = NoisyLinear(400, 300)
    assert np.abs(layer.weight.numpy()).max() <= 0.05
    assert layer.weight_sigma.numpy() == pytest.approx(np.full((300, 400), 0.5 / 20))
    # f(e)^2 = |e|, whose mean is sqrt(2 / pi); the two factors are independent.
    assert (layer.weight_noise.numpy() ** 2).mean() == pytest.approx(2 / np.pi, rel=0.1)


def test_the_deviations_learn() -> None:
    core.seed(0)
    layer = NoisyLinear(3, 2)
    layer(np.ones((1, 3), np.float32)).sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None and np.abs(parameter.grad.numpy()).max() > 0
