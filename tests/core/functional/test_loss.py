"""Losses on values and dtypes that the test bench does not draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import functional as F
from core.tensor import Tensor


def test_a_masked_class_does_not_spoil_the_others() -> None:
    logits = Tensor(np.array([[0, 0, -np.inf]], np.float32), requires_grad=True)
    loss = F.cross_entropy(logits, np.array([0]))
    assert loss.item() == pytest.approx(np.log(2))
    loss.backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), [[-0.5, 0.5, 0]], rtol=1e-6)
    assert F.nll_loss(F.log_softmax(logits, 1), np.array([1])).item() == pytest.approx(np.log(2))
    assert F.cross_entropy(logits, np.array([2])).item() == np.inf


@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        F.l1_loss,
        F.huber_loss,
        F.smooth_l1_loss,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=np.ones(3)),
    ],
)
def test_a_float64_target_leaves_the_gradient_in_float32(loss: Callable[..., Any]) -> None:
    x = Tensor(np.full((2, 3), 0.5, np.float32), requires_grad=True)
    loss(x, np.zeros((2, 3))).backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32


def test_multi_margin_loss_ignores_no_class() -> None:
    with pytest.raises(ValueError, match="target -100 is outside"):
        F.multi_margin_loss(np.ones((1, 200), np.float32), np.array([-100]))
    with pytest.raises(TypeError):  # in PyTorch the third is p
        F.multi_margin_loss(np.ones((1, 2), np.float32), np.array([0]), 2)  # type: ignore[call-arg]
