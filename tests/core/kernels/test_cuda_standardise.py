"""The CUDA backend's norms of samples and of neighbouring channels, against the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.kernels import cuda, reference
from core.kernels.layout import is_channels_last
from tests.core import fake_device
from tests.core.bench import channels_last, contiguous, strided

pytestmark = fake_device.needs_kernels

TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
LAYOUTS = pytest.mark.parametrize("arrange", [contiguous, channels_last, strided])
# Shape, view, first of the axes that are summed.
VIEWS = [
    ((5, 7), (5, 7), 1),
    ((3, 4, 768), (3, 4, 768), 2),
    ((2, 3, 5, 6), (2, 3, 5, 6), 1),
    ((2, 3, 5, 6), (2, 3, 5, 6), 2),
    ((2, 3, 5, 6), (2, 3, 5, 6), 3),
    ((2, 8, 3, 3), (2, 2, 4, 3, 3), 2),
    ((2, 6, 5, 2), (2, 3, 2, 5, 2), 2),
    ((2, 6, 5, 2), (2, 1, 6, 5, 2), 2),
    ((1, 40, 9, 5), (1, 40, 1, 9, 5), 2),
    ((2, 1, 70, 130), (2, 1, 70, 130), 1),
    ((1, 4, 40, 80), (1, 4, 40, 80), 0),
]
every_view = pytest.mark.parametrize(("shape", "view", "first"), VIEWS)


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def on_device(function: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The function's results for arrays of the host."""
    given = [fake_device.placed(a) if isinstance(a, np.ndarray) else a for a in args]
    results = function(*given)
    several = isinstance(results, tuple)
    return [fake_device.to_host(y) for y in (results if several else (results,))]


def exact(function: Callable[..., Any], *args: Any) -> list[np.ndarray]:
    """The reference's results in float64."""
    results = function(*(a.astype("f8") if isinstance(a, np.ndarray) else a for a in args))
    return list(results) if isinstance(results, tuple) else [results]


def agree(name: str, dtype: str, *args: Any) -> list[np.ndarray]:
    found = on_device(getattr(cuda, name), *args)
    for ours, wanted in zip(found, exact(getattr(reference, name), *args), strict=True):
        assert ours.shape == wanted.shape
        close = TOLERANCE[dtype] * max(np.abs(wanted).max(), 1)
        np.testing.assert_allclose(ours, wanted, rtol=TOLERANCE[dtype], atol=close)
    return found


@DTYPES
@LAYOUTS
@every_view
def test_rows(
    shape: tuple[int, ...], view: tuple[int, ...], first: int, arrange: Any, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    x = arrange((2 * rng.standard_normal(shape) + 3).astype(dtype))
    gy, axes = rng.standard_normal(shape).astype(dtype), tuple(range(first, len(view)))
    mean, var = agree("moments", dtype, x, view, axes)
    assert mean.dtype == var.dtype == np.float64
    rstd = (var + 1e-5) ** -0.5
    (y,) = agree("standardise", dtype, x, view, mean, rstd)
    for gradient in (gy, channels_last(gy)):
        (gx,) = agree("standardise_backward", dtype, gradient, y, view, rstd, axes)
        assert y.dtype == gx.dtype == x.dtype
        assert is_channels_last(y) == is_channels_last(gx) == is_channels_last(x)


def test_axes_in_the_middle() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    mean, var = agree("moments", "float32", x, x.shape, (1,))
    (y,) = agree("standardise", "float32", x, x.shape, mean, var)
    agree("standardise_backward", "float32", x, y, x.shape, var, (1,))


@pytest.mark.parametrize("arrange", [contiguous, channels_last])
def test_far_from_zero_and_nan(arrange: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 8)).astype(np.float32) + 1e4
    view, axes = (2, 3, 2, 8, 8), (2, 3, 4)
    _, var = on_device(cuda.moments, arrange(x), view, axes)
    np.testing.assert_allclose(var, exact(reference.moments, x, view, axes)[1], rtol=1e-6)
    x[0, 0, 3, 3] = np.nan
    mean, var = on_device(cuda.moments, arrange(x), view, axes)
    bad = np.arange(6).reshape(2, 3, 1, 1, 1) == 0
    assert (np.isnan(mean) == bad).all()
    assert (np.isnan(var) == bad).all()


@DTYPES
@LAYOUTS
@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_neighbouring_channels(size: int, arrange: Any, dtype: str) -> None:
    rng = np.random.default_rng(size)
    x = arrange((3 * rng.standard_normal((2, 7, 3, 4))).astype(dtype))
    gy = rng.standard_normal(x.shape).astype(dtype)
    (base,) = agree("response_base", dtype, x, size, 0.5, 2.0)
    (y,) = agree("response_norm", dtype, x, base, 0.75)
    (gx,) = agree("response_norm_backward", dtype, gy, x, base, size, 0.5, 0.75)
    assert is_channels_last(y) == is_channels_last(gx) == is_channels_last(x)
    assert base.dtype == y.dtype == gx.dtype == x.dtype
