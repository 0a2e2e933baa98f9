"""Convolution by im2col on the card's kernels: its matrix in many parts, odd sizes, 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.kernels import reference
from core.kernels.cuda import conv
from core.kernels.cuda.product import matmul_into
from core.kernels.reference.conv import Window
from tests.core import fake_device
from tests.core.fake_device import needs_kernels, placed, to_host

pytestmark = needs_kernels


@pytest.fixture(autouse=True, scope="module")
def device() -> None:
    fake_device.register()


@pytest.fixture(autouse=True)
def by_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv, "_forced", lambda: "gemm")
    monkeypatch.setattr(conv, "_NEAR", 5000)
    monkeypatch.setattr(conv, "_LARGE", 9000)


# Samples, channels, height, width, filters, kernel, stride, padding, dilation, groups.
SHAPES = (
    (2, 16, 12, 10, 32, 3, 1, 1, 1, 1),
    (2, 3, 15, 15, 8, 7, 2, 3, 1, 1),
    (2, 16, 12, 12, 32, 1, 1, 0, 1, 1),
    (2, 16, 12, 12, 16, 3, 1, 1, 1, 16),
    (2, 8, 9, 9, 12, 3, 2, 2, 2, 2),
    (2, 64, 6, 6, 32, 4, 2, 1, 1, 1),
    (1, 4, 9, 9, 6, 3, 1, 2, 2, 1),
    (1, 4, 9, 9, 6, 3, 1, 4, 1, 1),  # padding beyond the kernel: no transposed window
)


@pytest.mark.device
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float16", 3e-3)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_three_products(shape: tuple[int, ...], dtype: str, tolerance: float) -> None:
    n, c, h, w, k, size, stride, padding, dilation, groups = shape
    window = Window((stride,) * 2, (padding,) * 2, (dilation,) * 2, groups)
    rng = np.random.default_rng(0)

    def drawn(*axes: int) -> np.ndarray:
        return rng.standard_normal(axes).astype(dtype).astype("f8")

    x, weight = drawn(n, c, h, w), drawn(k, c // groups, size, size)
    y = reference.convolve(x, weight, None, window)
    gy = drawn(*y.shape)
    on_card = [placed(a.astype(dtype)) for a in (x, weight, gy)]
    a, b, g = on_card
    pairs: list[tuple[Any, np.ndarray]] = [
        (conv.convolve(a, b, None, window), y),
        (
            conv.convolve_input_gradient(g, b, (h, w), window),
            reference.convolve_input_gradient(gy, weight, (h, w), window),
        ),
        (
            conv.convolve_weight_gradient(a, g, (size, size), window),
            reference.convolve_weight_gradient(x, gy, (size, size), window),
        ),
    ]
    for found, expected in pairs:
        error = np.linalg.norm(to_host(found).astype("f8") - expected)
        assert error <= tolerance * np.linalg.norm(expected)


@pytest.mark.device
@pytest.mark.parametrize("size", [1, 3])
def test_no_samples(size: int) -> None:
    window = Window((1, 1), (0, 0), (1, 1), 1)
    x, gy = (placed(np.ones((0, 4, 6, 6), np.float32)), placed(np.ones((0, 4, 6, 6), np.float32)))
    gw = conv.convolve_weight_gradient(x, gy, (size, size), window)
    assert gw.shape == (4, 4, size, size) and not to_host(gw).any()
    assert conv.convolve(x, gw, None, window).shape[0] == 0


@pytest.mark.device
def test_a_product_over_nothing_is_zero() -> None:
    out = placed(np.full((2, 3), np.nan, np.float32))
    matmul_into(placed(np.ones((2, 0), np.float32)), placed(np.ones((0, 3), np.float32)), out)
    assert not to_host(out).any()
