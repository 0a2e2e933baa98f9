"""Arithmetic: what the test bench does not draw."""

from __future__ import annotations

import numpy as np
import pytest

from core import functional as F
from core.tensor import Tensor


def test_matmul_names_batches_that_do_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"^matmul: shapes \(2, 3, 4\) and \(3, 4, 5\)"):
        F.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5)))


def test_integers_have_no_gradient() -> None:
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    assert not x.long().requires_grad
    assert x.double().requires_grad


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 1], [-np.inf, 1]])
    np.testing.assert_array_equal(F.logsumexp(x, 1).numpy(), [-np.inf, np.inf, 1])
    with pytest.raises(ValueError, match="logsumexp: tensor of shape"):
        F.logsumexp(np.ones((2, 0)), 1)


def test_a_mean_in_float16_does_not_overflow() -> None:
    assert F.mean(np.ones(70_000, np.float16)).item() == 1


def test_numpy_integers_name_axes() -> None:
    assert F.sum(np.ones((2, 3)), np.int64(1)).shape == (2,)
