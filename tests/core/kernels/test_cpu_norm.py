"""The CPU backend's batch normalisation against the reference kernels in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from tests.core.bench import channels_last

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def operands(shape: tuple[int, ...], mean: float = 1.0) -> tuple[np.ndarray, ...]:
    """Input, gradient, scale, shift."""
    rng = np.random.default_rng(sum(shape))
    x, gy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    scale, shift = (rng.standard_normal(shape[1]) for _ in range(2))
    x += np.float32(mean)
    return (
        (channels_last(x), channels_last(gy), scale, shift)
        if x.ndim > 2
        else (
            x,
            gy,
            scale,
            shift,
        )
    )


def results(kernels: Any, given: tuple[np.ndarray, ...], relu: bool) -> list[np.ndarray]:
    x, gy, scale, shift = given
    mean, var = kernels.batch_moments(x)
    rstd = (var + 1e-5) ** -0.5
    y = kernels.scale_channels(x, mean, rstd * scale, shift, relu)
    kept = y if relu else None
    sums = kernels.batch_norm_sums(gy, x, mean, kept)
    gx = kernels.batch_norm_backward(gy, x, mean, rstd, rstd * scale, sums, kept)
    return [mean, var, y, *sums, gx, kernels.channel_sums(gy), kernels.bias_gradient(gy)]


def agree(ours: list[np.ndarray], given: tuple[np.ndarray, ...], relu: bool) -> None:
    expected = results(reference, tuple(a.astype(np.float64) for a in given), relu)
    count = given[0].size // given[0].shape[1]
    for i, (got, wanted) in enumerate(zip(ours, expected, strict=True)):
        assert got.dtype == (np.float32 if i in (2, 5, 7) else np.float64)
        # Sums may cancel: their error is relative to that of the values they add.
        largest = max(np.abs(wanted).max(), count**0.5 if i in (3, 4, 6, 7) else 0)
        assert np.abs(got - wanted).max() <= 1e-5 * largest


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(2, 9),
    channels=st.sampled_from([1, 2, 3, 16, 17, 100, 600]),
    size=st.lists(st.integers(1, 9), max_size=2),
    relu=st.booleans(),
)
def test_agrees_with_the_reference(batch: int, channels: int, size: list[int], relu: bool) -> None:
    given = operands((batch + 8, channels, *size))
    before = [a.copy() for a in given]
    agree(results(cpu, given, relu), given, relu)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("relu", [False, True])
def test_a_shortcut_is_added_before_the_relu(relu: bool) -> None:
    x, other, scale, shift = operands((9, 5, 4, 4))
    y = cpu.scale_channels(x, np.zeros(5), scale, shift, relu, other)
    expected = cpu.scale_channels(x, np.zeros(5), scale, shift) + other
    np.testing.assert_allclose(y, np.maximum(expected, 0) if relu else expected, atol=1e-6)
    # In another layout it is the same.
    again = cpu.scale_channels(x, np.zeros(5), scale, shift, relu, np.ascontiguousarray(other))
    np.testing.assert_array_equal(again, y)


@pytest.mark.parametrize("mean", [0.0, 100.0, -1e4])
def test_the_variance_survives_a_large_mean(mean: float) -> None:
    x = operands((20, 16, 30, 30), mean)[0]
    exact = x.astype(np.float64).var(axis=(0, 2, 3))
    np.testing.assert_allclose(cpu.batch_moments(x)[1], exact, rtol=1e-5)


def test_a_channel_of_one_value_has_no_variance() -> None:
    x = channels_last(np.full((5, 3, 7, 7), np.float32(0.1)))
    mean, var = cpu.batch_moments(x)
    np.testing.assert_allclose(mean, 0.1, rtol=1e-6)
    assert (var >= 0).all()
    assert (var < 1e-12).all()


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize("shape", [(10, 48, 40, 40), (5000, 100)])
def test_same_bits_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    given, runs = operands(shape), []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        runs.append(results(cpu, given, True))
    agree(runs[0], given, True)
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_fused_relu_keeps_nan() -> None:
    x, _, scale, shift = operands((9, 5, 4, 4))
    x[0, 0, 0, 0] = np.nan
    y = cpu.scale_channels(x, np.zeros(5), scale, shift, True)
    assert np.isnan(y[0, 0, 0, 0])
    np.testing.assert_array_equal(
        y, np.maximum(cpu.scale_channels(x, np.zeros(5), scale, shift), 0)
    )


def test_other_layouts_are_the_references() -> None:
    x, gy, scale, shift = operands((9, 5, 4, 4))
    given = np.ascontiguousarray(x), gy, scale, shift
    for ours, wanted in zip(
        results(cpu, given, True), results(cpu, (x, *given[1:]), True), strict=True
    ):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)
