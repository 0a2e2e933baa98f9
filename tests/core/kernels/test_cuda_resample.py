"""The CUDA backend's weighted sums, on the strict device, against the reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.kernels import reference
from core.kernels.cuda.resample import resample, resample_backward, uploaded
from core.kernels.reference.resample import average_taps, linear_taps, nearest_taps
from tests.core import fake_device
from tests.core.bench import channels_last, contiguous, strided

pytestmark = fake_device.needs_kernels

TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}
# How an axis of 9 becomes one of 5 or 14.
TAPS: list[Callable[[int, int], Any]] = [
    average_taps,
    lambda n, m: nearest_taps(n, m, n / m),
    lambda n, m: linear_taps(n, m, n / m, False),
    lambda n, m: linear_taps(n, m, (n - 1) / (m - 1) if m > 1 else 0.0, True),
]


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def check(x: np.ndarray, taps: tuple[Any, ...], arrange: Callable[..., np.ndarray]) -> None:
    tolerance = TOLERANCE[str(x.dtype)]
    wide = x.astype(np.float64)
    y = fake_device.to_host(resample(fake_device.placed(x), taps))
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, reference.resample(wide, taps), rtol=tolerance, atol=tolerance)
    gy = arrange(np.random.default_rng(1).standard_normal(y.shape).astype(x.dtype))
    gx = fake_device.to_host(resample_backward(fake_device.placed(gy), taps))
    wanted = reference.resample_backward(gy.astype(np.float64), taps)
    assert (gx.shape, gx.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(gx, wanted, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("arrange", [contiguous, channels_last, strided])
def test_agrees_with_the_reference(dtype: str, arrange: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for channels in (3, 16):
        for taps in TAPS:
            x = arrange(rng.standard_normal((2, channels, 9, 8)).astype(dtype))
            for size in ((1, 1), (5, 14), (14, 3), (9, 8)):
                check(x, (taps(9, size[0]), taps(8, size[1])), arrange)


@pytest.mark.parametrize("arrange", [contiguous, channels_last])
def test_any_number_of_axes(arrange: Callable[..., np.ndarray]) -> None:
    for shape in ((2, 4, 7), (1, 8, 3, 4, 5)):
        x = arrange(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
        check(x, tuple(linear_taps(n, 2 * n + 1, 0.4, False) for n in shape[2:]), arrange)


def test_wide_bins_and_empty_arrays() -> None:
    x = channels_last(np.random.default_rng(0).standard_normal((1, 4, 30, 20)).astype(np.float32))
    check(x, (average_taps(30, 1), average_taps(20, 1)), channels_last)
    check(x[:0], (average_taps(30, 2), average_taps(20, 3)), channels_last)


def test_tables_go_to_the_card_once() -> None:
    x = fake_device.from_host(np.ones((1, 1, 11, 13), np.float32))
    before = uploaded.cache_info().misses
    for _ in range(3):
        resample(x, (average_taps(11, 4), average_taps(13, 6)))
    assert uploaded.cache_info().misses == before + 2
