"""Gram matrices against hand-computed cases and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from core import functional as F
from tests.core.functional.peer import agree, close, values


def test_gram_matrix_correlates_channels() -> None:
    x = np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 1, 2)
    close(F.gram_matrix(x), np.array([[[5, 11], [11, 25]]]) / 4)


def test_empty_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="gram_matrix: input of shape"):
        F.gram_matrix(np.zeros((1, 3, 0, 2)))
    with pytest.raises(ValueError, match="expected 4 axes"):
        F.gram_matrix(np.zeros((3, 2)))


@pytest.mark.peer
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 3, 2), (3, 6, 1, 1)])
def test_gram_matrix_as_in_pytorch(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    size = math.prod(shape[1:])
    agree(
        F.gram_matrix,
        lambda x: torch.einsum("nihw,njhw->nij", x, x) / size,
        values(*shape),
    )
