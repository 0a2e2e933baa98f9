"""The CUDA backend's softmax and its loss, on the strict device, against the reference."""

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
# Rows for a thread, a part of a warp, a warp and a block; with and without packs.
SHAPES = [
    *((n, c) for n, c in [(1, 1), (3, 10), (40, 12), (5, 33), (3, 64), (2, 1000), (3, 5003)]),
    *((2, 11, 3, 5), (2, 40, 3, 2), (1, 8, 7)),
]
IGNORED = 255


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def wide(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float64)


def on_device(function: Callable[..., Any], *args: Any) -> Any:
    """The function's results for arrays of the host, which stay as they are."""
    given = [fake_device.placed(a) if isinstance(a, np.ndarray) else a for a in args]
    before = [a.copy() for a in args if isinstance(a, np.ndarray)]
    results = function(*given)
    after = [a for a in args if isinstance(a, np.ndarray)]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(after, before, strict=True))
    if isinstance(results, tuple):
        return [fake_device.to_host(y) for y in results]
    return fake_device.to_host(results)


def operands(shape: tuple[int, ...], dtype: str) -> tuple[np.ndarray, ...]:
    """Logits, labels, class weights, gradient of the losses."""
    rng = np.random.default_rng(sum(shape))
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = IGNORED
    target[np.unravel_index(0, target.shape)] = 0
    weight = rng.uniform(0.5, 2, shape[1]).astype(dtype)
    return x, target, weight, rng.standard_normal(target.shape).astype(dtype)


def losses(kernels: Any, given: tuple[Any, ...], smoothing: float) -> list[Any]:
    """Losses, total weight, gradient."""
    x, target, weight, gy = given
    settings = (target, weight, IGNORED, smoothing)
    y, total, norms = kernels.softmax_loss(x, *settings)
    return [y, total, kernels.softmax_loss_backward(gy, x, *settings, norms)]


def both(given: tuple[Any, ...], smoothing: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    x, target, weight, gy = given
    found = on_device(lambda *arrays: tuple(losses(cuda, arrays, smoothing)), *given)
    exact = wide(x), target.astype(np.int64), None if weight is None else wide(weight), wide(gy)
    with np.errstate(all="ignore"):
        return found, losses(reference, exact, smoothing)


@DTYPES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss(shape: tuple[int, ...], dtype: str, smoothing: float) -> None:
    x, target, weight, gy = operands(shape, dtype)
    for logits in (x, channels_last(x)):
        for weights in (None, weight):
            found, wanted = both((logits, target, weights, gy), smoothing)
            for ours, exact in zip(found, wanted, strict=True):
                assert ours.dtype == np.dtype(dtype)
                close = TOLERANCE[dtype] * max(np.abs(exact).max(), 1)
                np.testing.assert_allclose(ours, exact, rtol=TOLERANCE[dtype], atol=close)
        assert is_channels_last(found[2]) == is_channels_last(logits)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint64"])
def test_labels_of_any_integer(dtype: str) -> None:
    x, target, weight, gy = operands((2, 7, 3, 4), "float32")
    found, wanted = both((x, target.astype(dtype), weight, gy), 0.1)
    for ours, exact in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=2e-6)


def test_one_gradient_for_all_and_memory_with_gaps() -> None:
    x, target, weight, gy = operands((9, 12), "float32")
    alone = np.broadcast_to(np.float32(0.3), gy.shape)
    for given in ((x, target, weight, alone), tuple(map(strided, (x, target, weight, gy)))):
        found, wanted = both(given, 0.1)
        for ours, exact in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=2e-6)
    shifted = np.zeros(109, np.float32)[1:].reshape(9, 12)
    shifted[...] = x
    np.testing.assert_allclose(both((shifted, *given[1:]), 0.1)[0][2], exact, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("shape", [(6, 10), (6, 40), (6, 600)])
def test_labels_outside_the_classes(shape: tuple[int, ...]) -> None:
    x, target, weight, gy = operands(shape, "float32")
    target[:] = [0, -1, shape[1], 2**40, IGNORED, 3]
    (y, total, gx), _ = both((x, np.minimum(target, 0), weight, gy), 0.0)
    found = on_device(lambda *a: tuple(losses(cuda, a, 0.1)), x, target, weight, gy)
    wrong = [False, True, True, True, False, False]
    assert (np.isnan(found[0]) == wrong).all()
    assert (np.isnan(found[2]).all(axis=1) == wrong).all()
    assert np.isfinite(found[2][[0, 4, 5]]).all()
    assert found[1] == pytest.approx(weight[0] + weight[3], rel=1e-6)
    assert np.isfinite(total)
    assert found[0][4] == 0
    assert not found[2][4].any()
    assert y.shape == (6,)
    assert gx.shape == shape


@pytest.mark.parametrize("shape", [(4, 10), (4, 40), (4, 600)])
def test_infinity_and_nan(shape: tuple[int, ...]) -> None:
    x, target, weight, gy = operands(shape, "float32")
    x[:, 3], weight[3], target[:] = -np.inf, 0, [3, 0, 1, 2]
    for smoothing in (0.0, 0.1):
        found, wanted = both((x, target, weight, gy), smoothing)
        for ours, exact in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, exact, rtol=2e-6, atol=1e-6)
    x[0, 1], x[1, 2], x[2] = np.nan, np.inf, -np.inf
    (y, _, gx), (exact, _, slope) = both((x, target, None, gy), 0.0)
    np.testing.assert_allclose(y, exact, rtol=2e-6)
    np.testing.assert_allclose(gx, slope, rtol=2e-6, atol=1e-6)


@DTYPES
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [*SHAPES, (4,)], ids=str)
def test_softmax(name: str, shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(1)
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    gy = rng.standard_normal(shape).astype(dtype)
    for axis in range(-1, len(shape) - 1):
        for arrange in (contiguous, channels_last, strided):
            a = arrange(x)
            y = on_device(getattr(cuda, name), a, axis)
            wanted = getattr(reference, name)(wide(x), axis)
            close = TOLERANCE[dtype] * max(np.abs(wanted).max(initial=1), 1)
            np.testing.assert_allclose(y, wanted, rtol=TOLERANCE[dtype], atol=close)
            assert y.dtype == a.dtype
            assert is_channels_last(y) == is_channels_last(a)
            gx = on_device(getattr(cuda, f"{name}_backward"), gy, y, axis)
            wanted = getattr(reference, f"{name}_backward")(wide(gy), wide(y), axis)
            close = TOLERANCE[dtype] * max(np.abs(wanted).max(initial=1), 1)
            np.testing.assert_allclose(gx, wanted, rtol=TOLERANCE[dtype], atol=close)


@pytest.mark.parametrize("size", [5, 48, 2000])
def test_softmax_of_what_is_not_finite(size: int) -> None:
    x = np.random.default_rng(0).standard_normal((5, size)).astype(np.float32)
    x[0, 1], x[1, 2], x[2, 3], x[3] = np.nan, np.inf, -np.inf, -np.inf
    for name in ("softmax", "log_softmax"):
        with np.errstate(all="ignore"):
            wanted = getattr(reference, name)(x, 1)
        np.testing.assert_allclose(on_device(getattr(cuda, name), x, 1), wanted, rtol=2e-5)


def test_nothing_at_all() -> None:
    x = np.zeros((0, 3), np.float32)
    assert on_device(cuda.softmax, x, 1).shape == (0, 3)
    assert on_device(cuda.softmax_backward, x, x, 1).shape == (0, 3)
    found, _ = both((x, np.zeros(0, np.int64), None, x[:, 0]), 0.0)
    assert [a.shape for a in found] == [(0,), (), (0, 3)]
