"""Gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from core.nn.utils import clip_grad_norm_, clip_grad_value_
from core.tensor import Parameter, Tensor
from tests.core import fake_device


def parameters(*gradients: Any) -> list[Parameter]:
    result = []
    for gradient in gradients:
        gradient = np.array(gradient, np.float32)
        parameter = Parameter(np.zeros_like(gradient))
        parameter.grad = gradient
        result.append(parameter)
    return result


def gradients_of(own: list[Parameter]) -> list[Any]:
    return [p.grad.tolist() for p in own if p.grad is not None]


def test_the_norm_of_all_together_is_limited() -> None:
    own = [*parameters([[3.0, 0.0]], [4.0]), Parameter(np.ones(2))]
    memory = own[0].grad
    assert memory is not None
    assert clip_grad_norm_(own, 1.0).item() == 5
    np.testing.assert_allclose(memory.numpy(), [[0.6, 0]], rtol=1e-6)
    assert clip_grad_norm_(iter(own), 10.0).item() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(memory.numpy(), [[0.6, 0]], rtol=1e-6)
    assert own[2].grad is None


def test_one_parameter_or_none_at_all() -> None:
    (own,) = parameters([3.0, 4.0])
    assert clip_grad_norm_(own, 5.0, norm_type=math.inf).item() == 4
    assert clip_grad_norm_([], 1.0).item() == 0


def test_a_norm_that_is_no_number_can_raise() -> None:
    own = parameters([math.inf])
    with pytest.raises(RuntimeError, match="norm of the gradients is inf"):
        clip_grad_norm_(own, 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="norm_type is 0"):
        clip_grad_norm_(own, 1.0, norm_type=0)


def test_the_norm_of_float16_gradients_does_not_overflow() -> None:
    own = Parameter(np.zeros(4, np.float16))
    own.grad = np.full(4, 1000, np.float16)
    assert clip_grad_norm_(own, 1.0).item() == 2000
    assert own.grad is not None
    np.testing.assert_allclose(own.grad.numpy(), 0.5, rtol=1e-2)


def test_values_are_limited() -> None:
    own = parameters([-3.0, 0.5], [4.0])
    clip_grad_value_(own, 1.0)
    assert gradients_of(own) == [[-1, 0.5], [1]]


@pytest.mark.device
def test_nothing_is_copied_to_the_host() -> None:
    fake_device.register()
    transfers = fake_device.fake.transfers
    own = [Parameter(fake_device.from_host(np.zeros(2))) for _ in range(2)]
    for p in own:
        p.grad = Tensor(fake_device.from_host(np.array([3.0, 4.0])))
    total = clip_grad_norm_(own, 1.0)
    clip_grad_value_(own, 0.5)
    assert fake_device.fake.transfers == transfers
    np.testing.assert_allclose(fake_device.to_host(total.data), math.sqrt(50))
    assert own[0].grad is not None
    np.testing.assert_allclose(
        fake_device.to_host(own[0].grad.data), [3 / math.sqrt(50), 0.5], rtol=1e-5
    )


@pytest.mark.peer
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
def test_clipping_agrees_with_pytorch(norm_type: float) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    own = parameters(rng.standard_normal((3, 4)), rng.standard_normal(5))
    peers = [torch.zeros(p.shape, requires_grad=True) for p in own]
    for p, t in zip(own, peers, strict=True):
        assert p.grad is not None
        t.grad = torch.tensor(p.grad.numpy())
    total = torch.nn.utils.clip_grad_norm_(peers, 0.7, norm_type)
    assert clip_grad_norm_(own, 0.7, norm_type).item() == pytest.approx(total.item(), rel=1e-6)
    for p, t in zip(own, peers, strict=True):
        np.testing.assert_allclose(np.asarray(p.grad), t.grad, rtol=1e-6)
