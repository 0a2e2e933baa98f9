"""The CUDA backend's pooling, on the strict device, against the reference kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from core.kernels import reference
from core.kernels.cuda import pool as cuda
from core.kernels.reference.pool import Pooling
from tests.core import fake_device
from tests.core.bench import channels_last, contiguous, strided

pytestmark = fake_device.needs_kernels

POOLINGS = [
    Pooling((2, 2), (2, 2), (0, 0)),
    Pooling((3, 3), (2, 2), (1, 1)),
    Pooling((3, 3), (3, 3), (1, 1), (1, 1), True),
    Pooling((2, 3), (3, 4), (1, 0)),
    Pooling((3, 2), (1, 2), (1, 1), (2, 3)),
    Pooling((2, 2), (1, 1), (1, 1), (3, 2), True),
    Pooling((4, 1), (2, 1), (2, 0), (1, 1), True),
    Pooling((1, 1), (1, 1), (0, 0)),
    Pooling((5, 6), (5, 6), (0, 0)),
    Pooling((17, 16), (1, 1), (8, 8)),
]
SHAPES = [(2, 3, 9, 7), (1, 8, 6, 11), (1, 16, 5, 6), (3, 4, 8, 8), (2, 5, 5, 6)]
TOLERANCE = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)
every_layout = pytest.mark.parametrize("arrange", [contiguous, channels_last, strided])


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def on_device(x: np.ndarray) -> Any:
    return fake_device.placed(x)


def cases() -> Iterator[tuple[tuple[int, ...], Pooling]]:
    for shape in SHAPES:
        for pooling in POOLINGS:
            if min(pooling.output_size(shape[2:])) >= 1:
                yield shape, pooling


def drawn(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Few different values, so that there are ties."""
    return np.random.default_rng(sum(shape)).integers(-6, 6, shape).astype(dtype) / 4


def same(ours: Any, wanted: np.ndarray, tolerance: float = 0.0) -> None:
    got = fake_device.to_host(ours)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def check_max(x: np.ndarray, pooling: Pooling, arrange: Callable[..., np.ndarray]) -> None:
    size = x.shape[2:]
    y, positions = reference.max_pool_positions(x, pooling)
    same(cuda.max_pool(on_device(x), pooling), y)
    ours, places = cuda.max_pool_positions(on_device(x), pooling)
    same(ours, y)
    same(places, positions)
    same(
        cuda.max_pool_indices(places, size, pooling),
        reference.max_pool_indices(positions, size, pooling),
    )
    gy = arrange(drawn(y.shape, str(x.dtype)))
    same(
        cuda.max_pool_backward(on_device(gy), places, size, pooling),
        reference.max_pool_backward(gy, positions, size, pooling),
    )


@every_dtype
@every_layout
def test_max_pool(dtype: str, arrange: Callable[..., np.ndarray]) -> None:
    for shape, pooling in cases():
        check_max(arrange(drawn(shape, dtype)), pooling, contiguous)
        check_max(channels_last(drawn(shape, dtype)), pooling, arrange)


@every_layout
def test_max_pool_of_what_is_not_finite(arrange: Callable[..., np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for shape, pooling in cases():
        x = rng.choice([np.nan, -np.inf, 0.0, 1.0], shape, p=[0.1, 0.6, 0.2, 0.1])
        check_max(arrange(x.astype(np.float32)), pooling, contiguous)


@every_dtype
@every_layout
@pytest.mark.parametrize("count_padding", [True, False])
def test_avg_pool(dtype: str, arrange: Callable[..., np.ndarray], count_padding: bool) -> None:
    for shape, pooling in cases():
        if max(pooling.dilation) > 1:
            continue
        x, size = arrange(drawn(shape, dtype)), shape[2:]
        divisor = reference.avg_pool_divisor(x, size, pooling, count_padding)
        ours = cuda.avg_pool_divisor(on_device(x), size, pooling, count_padding)
        same(ours, divisor)
        wide = x.astype(np.float64)
        y = reference.avg_pool(wide, pooling, divisor.astype(np.float64)).astype(dtype)
        same(cuda.avg_pool(on_device(x), pooling, ours), y, TOLERANCE[dtype])
        gy = arrange(drawn(y.shape, dtype))
        gx = reference.avg_pool_backward(
            gy.astype(np.float64), size, pooling, divisor.astype(np.float64)
        )
        found = cuda.avg_pool_backward(on_device(gy), size, pooling, ours)
        same(found, gx.astype(dtype), TOLERANCE[dtype])


def test_a_pooled_pixel_is_channels_last() -> None:
    x = channels_last(drawn((2, 4, 3, 3), "float32"))
    pooling = Pooling((3, 3), (3, 3), (0, 0))
    y, positions = cuda.max_pool_positions(on_device(x), pooling)
    gx = cuda.max_pool_backward(y, positions, (3, 3), pooling)
    assert cuda.lies_last(gx)


def test_nothing_to_pool() -> None:
    for shape in ((0, 4, 6, 6), (2, 0, 6, 6)):
        x, pooling = np.zeros(shape, np.float32), Pooling((2, 2), (2, 2), (0, 0))
        check_max(x, pooling, contiguous)
        check_max(channels_last(x), pooling, contiguous)


# ---------------------------------------------------------------------------- unpooling


@every_dtype
@every_layout
@pytest.mark.parametrize("size", [(6, 8), (7, 9), (7, 8)])
def test_max_unpool(dtype: str, arrange: Callable[..., np.ndarray], size: tuple[int, int]) -> None:
    for channels in (1, 3, 16):
        picture = drawn((2, channels, *size), dtype)
        pooling = Pooling((2, 2), (2, 2), (0, 0))
        x, positions = reference.max_pool_positions(picture, pooling)
        indices = reference.max_pool_indices(positions, size, pooling)
        x = arrange(x)
        y = cuda.max_unpool(on_device(x), on_device(channels_last(indices)), size)
        same(y, reference.max_unpool(x, indices, size))
        gy = arrange(drawn((2, channels, *size), dtype))
        same(
            cuda.max_unpool_backward(on_device(gy), on_device(arrange(indices))),
            reference.max_unpool_backward(gy, indices),
        )


@every_layout
@pytest.mark.parametrize("size", [(3, 4), (5, 2), (9, 7), (2, 2)])
def test_max_unpool_to_any_place(arrange: Callable[..., np.ndarray], size: tuple[int, int]) -> None:
    """Places repeat, lie anywhere, and all are right in some planes."""
    rng = np.random.default_rng(1)
    x = arrange(drawn((2, 4, 3, 4), "float32"))
    indices = rng.integers(0, size[0] * size[1], x.shape)
    rows, columns = np.minimum(np.indices((3, 4)), np.array(size)[:, None, None] - 1)
    indices[:, 1] = rows * size[1] + columns
    wanted = np.zeros((2, 4, size[0] * size[1]), np.float32)
    for n, c, i in np.ndindex(2, 4, 12):
        wanted[n, c, indices[n, c].flat[i]] = x[n, c].flat[i]
    for given in (indices, indices.astype(np.int32)):
        y = cuda.max_unpool(on_device(x), on_device(arrange(given)), size)
        same(y, wanted.reshape(2, 4, *size))


def test_places_outside_are_left_out() -> None:
    x, indices = drawn((1, 1, 2, 2), "float32"), np.array([[[[-1, 16], [2**40, 10]]]])
    y = fake_device.to_host(cuda.max_unpool(on_device(x), on_device(indices), (4, 4)))
    assert y[0, 0, 2, 2] == x[0, 0, 1, 1] and np.count_nonzero(y) == 1
    gx = fake_device.to_host(cuda.max_unpool_backward(on_device(y), on_device(indices)))
    assert np.array_equal(gx[0, 0], [[0, 0], [0, x[0, 0, 1, 1]]])
