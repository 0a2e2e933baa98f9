"""The moving average against its formula, written out."""

from __future__ import annotations

import numpy as np
import pytest

from core import nn
from core.training.average import MovingAverage


def test_the_average_follows_the_formula() -> None:
    model = nn.Linear(3, 2)
    average = MovingAverage(model, decay=0.5)
    expected = model.weight.numpy().copy()
    for step in range(1, 15):
        model.weight.copy_(np.full((2, 3), step, np.float32))
        average.update()
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * step
    with average.applied():
        np.testing.assert_allclose(model.weight.numpy(), expected, rtol=1e-6)
    np.testing.assert_array_equal(model.weight.numpy(), 14)


def test_the_own_weights_come_back_after_an_error() -> None:
    model = nn.Linear(3, 2)
    average = MovingAverage(model)
    model.weight.copy_(np.ones((2, 3), np.float32))
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    np.testing.assert_array_equal(model.weight.numpy(), 1)


def test_the_memory_order_of_a_convolution_is_kept() -> None:
    model = nn.Conv2d(3, 4, 3)
    strides = model.weight.data.strides
    average = MovingAverage(model)
    average.update()
    with average.applied():
        assert model.weight.data.strides == strides


def test_the_state_goes_on_exactly() -> None:
    model = nn.Conv2d(2, 3, 3)
    first, second = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    model.weight.copy_(np.ones(model.weight.shape, np.float32))
    first.update()
    second.load_state_dict(first.state_dict())
    for average in (first, second):
        average.update()
    for name, array in first.state_dict()["averages"].items():
        np.testing.assert_array_equal(second.state_dict()["averages"][name], array)
    with pytest.raises(ValueError, match="not the model's"):
        MovingAverage(nn.Linear(2, 2)).load_state_dict(first.state_dict())


@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0, float("nan")])
def test_a_senseless_decay_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="expected between 0 and 1"):
        MovingAverage(nn.Linear(1, 1), decay)
