"""Checkpoints: the same values and gradients, less memory, and what is refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import core
from core import Parameter, Tensor, nn
from core import functional as F
from core.gradient_check import gradient_check
from core.recompute import checkpoint


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def leaf(*shape: int, seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(values, requires_grad=True)


def values_of(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.numpy()


def two_layers(x: Tensor, y: Any) -> Tensor:
    return (x * y).tanh() * x.exp() + y


def test_the_gradient_check() -> None:
    rng = np.random.default_rng(0)
    arrays = rng.uniform(-1, 1, (2, 3)), rng.uniform(-1, 1, (2, 3))
    gradient_check(lambda x, y: checkpoint(two_layers, x, y), *arrays)
    # One of several, and itself inside another one.
    gradient_check(
        lambda x, y: checkpoint(two_layers, checkpoint(two_layers, x, y), y) * x, *arrays
    )
    gradient_check(
        lambda x, y: checkpoint(lambda a: checkpoint(two_layers, a, a), x) * y.sum(), *arrays
    )


def test_parameters_get_the_same_gradients_bit_for_bit() -> None:
    core.seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()
    )
    picture = np.random.default_rng(0).random((2, 3, 12, 12), np.float32)
    found = []
    for run in (net, lambda x: checkpoint(net, x)):
        net.zero_grad()
        x = Tensor(picture, requires_grad=True)
        y = run(x)
        (y**2).sum().backward()
        found.append([y.numpy(), values_of(x.grad), *(values_of(p.grad) for p in net.parameters())])
    for plain, again in zip(*found, strict=True):
        assert np.array_equal(plain, again)


def test_parameters_alone_need_a_gradient() -> None:
    w = Parameter(np.array([2.0, 3.0]))
    x = np.array([5.0, 7.0])
    y = checkpoint(lambda x: x * w, Tensor(x))
    assert np.array_equal(core.grad(y, w, np.ones(2))[0].numpy(), x)
    assert w.grad is None
    y.backward(np.ones(2))
    assert values_of(w.grad).tolist() == [5, 7]


def test_dropout_draws_the_same_again() -> None:
    core.seed(0)
    x = leaf(1000)
    y = checkpoint(lambda x: F.dropout(x, 0.5), x)
    following = core.device.random.counter
    y.backward(np.ones(1000))
    assert np.array_equal(values_of(x.grad) != 0, y.numpy() != 0)
    assert core.device.random.counter == following


def test_inner_activations_die_in_the_forward_pass(no_gc: None) -> None:
    refs: list[weakref.ref[Any]] = []

    def function(x: Tensor) -> Tensor:
        hidden = x.sigmoid()
        refs.append(weakref.ref(hidden.data))
        return hidden.sigmoid()

    x = leaf(4)
    y = checkpoint(function, x)
    assert [ref() is None for ref in refs] == [True]
    y.backward(np.ones(4))
    assert [ref() is None for ref in refs] == [True, True]
    node = weakref.ref(y.node)
    del y
    assert node() is None


def test_a_graph_that_is_kept_can_be_walked_again() -> None:
    x = leaf(3)
    y = checkpoint(lambda x: x * x, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(values_of(x.grad), 4 * x.numpy())
    with pytest.raises(RuntimeError, match="was freed by an earlier backward"):
        y.backward()


def test_it_records_in_a_backward_without_gradients() -> None:
    x = leaf(3)
    y = checkpoint(lambda x: x * x, x).sum()
    with core.no_grad():
        y.backward()
        assert checkpoint(lambda x: x * x, x).node is None
    np.testing.assert_allclose(values_of(x.grad), 2 * x.numpy())


def test_nothing_is_recorded_where_nothing_needs_a_gradient() -> None:
    assert checkpoint(lambda x: x + 1, Tensor(np.zeros(3))).node is None


@pytest.mark.parametrize("frozen", [True, False])
def test_a_parameter_that_was_written_since_is_refused(frozen: bool) -> None:
    w, x = Parameter(np.ones(3), requires_grad=not frozen), leaf(3)
    y = checkpoint(lambda x: x * w, x).sum()
    w.copy_(np.zeros(3))
    with pytest.raises(RuntimeError, match="written after the forward pass"):
        y.backward()
    z = checkpoint(lambda x: x * x, x).sum()
    x.copy_(np.zeros(3))
    with pytest.raises(RuntimeError, match="written after the forward pass"):
        z.backward()


def test_what_it_cannot_see_through_is_refused() -> None:
    x = leaf(3)
    hidden = x * 2.0
    with pytest.raises(ValueError, match="uses a result of mul from outside"):
        checkpoint(lambda x: x * hidden, x)
    with pytest.raises(TypeError, match="the function gave tuple, not a tensor"):
        checkpoint(lambda x: (x, x), x)  # type: ignore[arg-type,return-value]


@pytest.mark.peer
def test_pytorchs_checkpoint() -> None:
    import torch
    from torch.utils.checkpoint import checkpoint as theirs

    x = leaf(3, 4)
    peer = torch.tensor(x.numpy(), requires_grad=True)
    checkpoint(lambda x: (x.tanh() * x).exp(), x).sum().backward()
    theirs(lambda x: (x.tanh() * x).exp(), peer, use_reentrant=False).sum().backward()
    np.testing.assert_allclose(values_of(x.grad), np.asarray(peer.grad), rtol=1e-12)
