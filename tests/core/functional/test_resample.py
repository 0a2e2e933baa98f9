"""Interpolation against hand-computed cases and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import functional as F
from core.tensor import Tensor
from tests.core.functional.peer import agree, close, values


def row(*pixels: float) -> np.ndarray:
    return np.array(pixels, dtype=np.float64).reshape(1, 1, 1, -1)


def test_nearest_repeats_pixels() -> None:
    x = Tensor(row(1, 2), requires_grad=True)
    y = F.interpolate(x, scale_factor=(1, 2))
    close(y, row(1, 1, 2, 2))
    y.backward(row(1, 10, 100, 1000))
    close(x.grad, row(11, 1100))


def test_bilinear_reads_between_pixels() -> None:
    x = Tensor(row(0, 4), requires_grad=True)
    y = F.interpolate(x, (1, 4), mode="bilinear")
    close(y, row(0, 1, 3, 4))
    y.backward(row(1, 1, 1, 1))
    close(x.grad, row(2, 2))
    close(F.interpolate(x, (1, 3), mode="bilinear", align_corners=True), row(0, 2, 4))


def test_a_constant_stays_constant() -> None:
    x = np.full((2, 3, 5, 7), 3.0)
    for size in ((1, 1), (3, 11), (13, 2)):
        close(F.interpolate(x, size, mode="bilinear"), np.full((2, 3, *size), 3.0))


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({}, "either size or scale_factor"),
    ({"size": 3, "scale_factor": 2}, "either size or scale_factor"),
    ({"size": 0}, "cannot become .0, 0. pixels"),
    ({"size": (1, 2, 3)}, "expected one number or two"),
    ({"size": 3, "mode": "bicubic"}, "mode 'bicubic', expected"),
    ({"size": 3, "align_corners": True}, "align_corners goes with"),
    ({"size": 3, "recompute_scale_factor": True}, "recompute_scale_factor goes with"),
]


@pytest.mark.parametrize("settings, message", ERRORS)
def test_errors_say_what_was_expected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"interpolate: .*{message}") as caught:
        F.interpolate(np.zeros((1, 1, 4, 4)), **settings)
    assert "\n" not in str(caught.value)


SIZES: list[dict[str, Any]] = [
    {"size": 6},
    {"size": (1, 1)},
    {"size": (3, 14)},
    {"size": (17, 2)},
    {"scale_factor": 2},
    {"scale_factor": 0.6},
    {"scale_factor": (1.7, 2.3)},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
]


@pytest.mark.peer
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 4, 2), (1, 2, 3, 3)])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "mode",
    [
        {},
        {"mode": "bilinear"},
        {"mode": "bilinear", "align_corners": False},
        {"mode": "bilinear", "align_corners": True},
    ],
)
def test_interpolation_as_in_pytorch(
    shape: tuple[int, ...], size: dict[str, Any], mode: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch")
    agree(
        lambda x: F.interpolate(x, **size, **mode),
        lambda x: torch.nn.functional.interpolate(x, **size, **mode),
        values(*shape),
    )
