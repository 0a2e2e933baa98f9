"""The CUDA backend's pooling of regions, on the strict device, against the reference kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core.kernels import reference
from core.kernels.cuda import region as cuda
from core.kernels.reference.region import bin_edges, sample_weights
from tests.core import fake_device
from tests.core.bench import channels_last, contiguous, strided

pytestmark = fake_device.needs_kernels

TOLERANCE = {"float16": 4e-3, "float32": 2e-6, "float64": 1e-13}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
every_layout = pytest.mark.parametrize("arrange", [contiguous, channels_last, strided])
BINS = (3, 2)
# More bins than a block has threads, unsorted, and one picture without any.
CASES = [((3, 3, 3, 4), 8), ((2, 16, 3, 2), 12), ((1, 4, 1, 1), 3), ((2, 8, 3, 3), 0)]


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def boxes(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, and the low and high corners (K, 2) of regions, some of them partly outside."""
    rng = np.random.default_rng(count)
    image = rng.integers(0, max(1, shape[0] - 1), count)
    low = rng.uniform(-3, max(shape[2:]), (count, 2))
    return image, low, low + rng.uniform(0, max(shape[2:]), (count, 2))


def drawn(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Few different values, so that there are ties."""
    return np.random.default_rng(sum(shape)).integers(-6, 6, shape).astype(dtype) / 4


def on_device(x: np.ndarray) -> Any:
    return fake_device.placed(x)


def close(ours: Any, wanted: np.ndarray, tolerance: float) -> None:
    got = fake_device.to_host(ours)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@every_dtype
@every_layout
def test_region_max(dtype: str, arrange: Callable[..., np.ndarray]) -> None:
    for shape, count in CASES:
        image, low, high = boxes(shape, count)
        edges = [bin_edges(low[:, a], high[:, a], BINS[a], shape[2 + a]) for a in range(2)]
        x = arrange(drawn(shape, dtype))
        if dtype == "float32":
            x[0, :, ::2, 0] = np.nan
        y, places = reference.region_max(x, image, *edges)
        ours, found = cuda.region_max(on_device(x), image, *edges)
        close(ours, y, 0)
        close(found, places, 0)
        gy = arrange(drawn(y.shape, dtype))
        wanted = reference.region_max_backward(gy.astype(np.float64), places, image, shape)
        gx = cuda.region_max_backward(on_device(gy), found, image, shape)
        assert fake_device.to_host(gx).dtype == np.dtype(dtype)
        close(gx, wanted, TOLERANCE[dtype])
        close(
            cuda.region_max_backward(on_device(gy), on_device(places), image, shape),
            wanted,
            TOLERANCE[dtype],
        )


@every_dtype
@every_layout
@pytest.mark.parametrize("ratio", [-1, 2])
def test_region_align(dtype: str, arrange: Callable[..., np.ndarray], ratio: int) -> None:
    for shape, count in CASES:
        image, low, high = boxes(shape, count)
        tables = [
            sample_weights(low[:, a], (high - low)[:, a], BINS[a], shape[2 + a], ratio)
            for a in range(2)
        ]
        rows, columns = (t.astype(dtype) for t in tables)
        wide_rows, wide_columns = rows.astype(np.float64), columns.astype(np.float64)
        x = arrange(drawn(shape, dtype))
        y = reference.region_align(x.astype(np.float64), image, wide_rows, wide_columns)
        near = on_device(rows), on_device(columns)
        ours = cuda.region_align(on_device(x), image, *near)
        assert fake_device.to_host(ours).dtype == np.dtype(dtype)
        close(ours, y, TOLERANCE[dtype])
        gy = arrange(drawn(y.shape, dtype))
        wanted = reference.region_align_backward(
            gy.astype(np.float64), image, wide_rows, wide_columns, shape
        )
        scale = max(1.0, float(np.abs(wanted).max()))
        found = cuda.region_align_backward(on_device(gy), image, *near, shape)
        close(found, wanted, scale * TOLERANCE[dtype])


def test_many_channels_take_many_blocks() -> None:
    image, x = np.zeros(2, np.int64), channels_last(drawn((1, 301, 2, 2), "float32"))
    edges = [bin_edges(np.zeros(2), np.full(2, 1.0), BINS[a], 2) for a in range(2)]
    y, places = reference.region_max(x, image, *edges)
    gx = cuda.region_max_backward(on_device(y), on_device(places), image, x.shape)
    close(gx, reference.region_max_backward(y, places, image, x.shape), 1e-6)
