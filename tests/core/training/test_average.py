"""The moving average against its formula, written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from core import nn
from core.training.average import MovingAverage, update_bn


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


def normalised() -> Any:
    core.seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten())


def inputs() -> list[tuple[np.ndarray, None]]:
    rng = np.random.default_rng(0)
    return [(rng.normal(size=(6, 1, 5, 5)).astype(np.float32), None) for _ in range(4)]


def test_statistics_are_the_mean_over_the_batches() -> None:
    model = normalised()
    convolution, norm, *_ = model
    batches = inputs()
    update_bn(batches, model)
    maps = [convolution(core.Tensor(batch)).numpy() for batch, _ in batches]
    mean = np.mean([m.mean(axis=(0, 2, 3)) for m in maps], axis=0)
    variance = np.mean([m.var(axis=(0, 2, 3), ddof=1) for m in maps], axis=0)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-4)
    assert norm.num_batches_tracked.item() == 4
    assert (norm.momentum, model.training) == (0.1, True)


def test_averaged_weights_come_with_statistics_of_their_own() -> None:
    model = normalised()
    convolution, norm, *_ = model
    average = MovingAverage(model, 0.5, batches=inputs)
    convolution.weight.copy_(10 * convolution.weight.numpy())
    average.update()
    update_bn(inputs(), model)
    own = {name: array.copy() for name, array in model.state_dict().items()}
    with average.applied():
        applied = norm.running_var.numpy().copy()
        update_bn(inputs(), model)
        np.testing.assert_array_equal(norm.running_var.numpy(), applied)
    assert (applied < own["1.running_var"]).all()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, own[name])


def test_without_batch_normalisation_no_batch_is_asked_for() -> None:
    def batches() -> list[np.ndarray]:
        return [np.zeros((0,))]  # a linear layer would refuse it

    with MovingAverage(nn.Linear(2, 2), batches=batches).applied():
        pass


def test_statistics_come_back_to_the_rate_they_had_after_an_error() -> None:
    model = normalised()
    model.eval()
    with pytest.raises(ValueError, match="conv2d"):
        update_bn([np.zeros((2, 7, 5, 5), np.float32)], model)
    assert (model[1].momentum, model.training) == (0.1, False)


@pytest.mark.peer
def test_statistics_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    model = normalised()
    peer = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5)
    )
    peer.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in model.state_dict().items()})
    update_bn(inputs(), model)
    torch.optim.swa_utils.update_bn([torch.from_numpy(x) for x, _ in inputs()], peer)
    for name, value in peer.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], value.numpy(), rtol=1e-4, atol=1e-6)
