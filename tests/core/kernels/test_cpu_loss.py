"""The CPU backend's softmax with cross entropy against the reference kernels in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from tests.core.bench import channels_last, contiguous

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

IGNORED = 255


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def operands(shape: tuple[int, ...], scale: float = 3.0) -> tuple[np.ndarray, ...]:
    """Logits, labels, class weights, gradient of the losses."""
    rng = np.random.default_rng(sum(shape))
    x = (rng.standard_normal(shape) * scale).astype(np.float32)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target[rng.random(target.shape) < 0.2] = IGNORED
    weight = rng.uniform(0.5, 2, shape[1]).astype(np.float32)
    gy = rng.standard_normal(target.shape).astype(np.float32)
    return channels_last(x) if x.ndim > 2 else x, target, weight, gy


def results(kernels: Any, given: tuple[np.ndarray, ...], smoothing: float) -> list[np.ndarray]:
    x, target, weight, gy = given
    settings = (target, weight, IGNORED, smoothing)
    losses, total, norms = kernels.softmax_loss(x, *settings)
    gx = kernels.softmax_loss_backward(gy, x, *settings, norms)
    return [losses, total, norms, gx]


def agree(ours: list[np.ndarray], given: tuple[np.ndarray, ...], smoothing: float) -> None:
    x, target, weight, gy = given
    exact = tuple(a.astype(np.float64) for a in (x, weight, gy))
    expected = results(reference, (exact[0], target, *exact[1:]), smoothing)
    for got, wanted in zip(ours, expected, strict=True):
        assert got.dtype == np.float32
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    classes=st.sampled_from([1, 2, 10, 11, 21, 128, 130, 1000, 3001]),
    size=st.lists(st.integers(1, 6), max_size=2),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    arrange=st.sampled_from([channels_last, contiguous]),
)
def test_agrees_with_the_reference(
    batch: int,
    classes: int,
    size: list[int],
    smoothing: float,
    arrange: Callable[[np.ndarray], np.ndarray],
) -> None:
    x, *rest = operands((batch, classes, *size))
    given = (arrange(x) if x.ndim > 2 else x, *rest)
    before = [a.copy() for a in given]
    agree(results(cpu, given, smoothing), given, smoothing)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_small_and_large_logits(scale: float) -> None:
    given = operands((7, 20), scale)
    agree(results(cpu, given, 0.0), given, 0.0)


def test_a_masked_class_without_weight_counts_nothing() -> None:
    x, target, weight, gy = operands((4, 10))
    x[:, 3], weight[3], target[:] = -np.inf, 0, [3, 0, 1, 2]
    for smoothing in (0.0, 0.1):
        given = x, target, weight, gy
        losses, *_, gx = results(cpu, given, smoothing)
        wanted, *_, slope = results(reference, given, smoothing)
        np.testing.assert_allclose(losses, wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gx, slope, rtol=1e-5, atol=1e-6)


def test_infinity_and_nan() -> None:
    x, target, weight, gy = operands((3, 10))
    target[:] = 0
    x[0, 3], x[1, 4], x[2, 0] = -np.inf, np.nan, np.nan
    losses, _, _, gx = results(cpu, (x, target, weight, gy), 0.0)
    assert np.isfinite(losses[0])
    assert gx[0, 3] == 0
    assert np.isnan(losses[1:]).all()
    assert np.isnan(gx[1:]).all()


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize("shape", [(2, 11, 160, 120), (300, 2000)])
def test_same_bits_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    given, runs = operands(shape), []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        runs.append(results(cpu, given, 0.1))
    agree(runs[0], given, 0.1)
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)
