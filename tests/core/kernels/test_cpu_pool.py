"""The CPU backend's pooling against the reference kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from core.kernels.reference.pool import Pooling
from tests.core.bench import channels_last

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

Case = tuple[tuple[int, ...], Pooling]

_slow = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def cases(draw: st.DrawFn, dilations: tuple[int, ...] = (1, 2)) -> Case:
    """Shape of the input, window."""
    axis = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
    kernel, stride, padding = zip(draw(axis), draw(axis), strict=True)
    dilation = (draw(st.sampled_from(dilations)), draw(st.sampled_from(dilations)))
    within = tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True))
    pooling = Pooling(kernel, stride, within, dilation, draw(st.booleans()))
    size = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    assume(min(pooling.output_size(size)) >= 1)
    channels = draw(st.sampled_from([1, 2, 3, 16, 17, 40]))
    return (draw(st.integers(1, 3)), channels, *size), pooling


def values(*shape: int) -> np.ndarray:
    return channels_last(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def max_results(kernels: object, x: np.ndarray, pooling: Pooling) -> list[np.ndarray]:
    """Result, places, the same without places, gradient."""
    y, positions = kernels.max_pool_positions(x, pooling)  # type: ignore[attr-defined]
    gy, size = values(*y.shape), x.shape[2:]
    return [
        y,
        positions,
        kernels.max_pool(x, pooling),  # type: ignore[attr-defined]
        kernels.max_pool_indices(positions, size, pooling),  # type: ignore[attr-defined]
        kernels.max_pool_backward(gy, positions, size, pooling),  # type: ignore[attr-defined]
    ]


def avg_results(kernels: object, x: np.ndarray, pooling: Pooling) -> list[np.ndarray]:
    divisor = reference.avg_pool_divisor(x, x.shape[2:], pooling, True)
    y = kernels.avg_pool(x, pooling, divisor)  # type: ignore[attr-defined]
    gy = values(*y.shape)
    return [y, kernels.avg_pool_backward(gy, x.shape[2:], pooling, divisor)]  # type: ignore[attr-defined]


def agree(ours: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for got, wanted in zip(ours, expected, strict=True):
        assert got.dtype == wanted.dtype
        assert got.transpose(0, 2, 3, 1).flags.c_contiguous
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@_slow
@given(case=cases())
def test_max_pool_agrees_with_the_reference(case: Case) -> None:
    x = values(*case[0])
    before = x.copy()
    agree(max_results(cpu, x, case[1]), max_results(reference, x, case[1]))
    np.testing.assert_array_equal(x, before)


@_slow
@given(case=cases(dilations=(1,)))
def test_avg_pool_agrees_with_the_reference(case: Case) -> None:
    x = values(*case[0])
    before = x.copy()
    agree(avg_results(cpu, x, case[1]), avg_results(reference, x, case[1]))
    np.testing.assert_array_equal(x, before)


@_slow
@given(case=cases(), data=st.data())
def test_ties_infinities_and_nan_choose_as_the_reference(case: Case, data: st.DataObject) -> None:
    choices = [0.0, 1.0, -np.inf, np.inf, np.nan]
    few = data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=5))
    x = channels_last(np.random.default_rng(0).choice(np.array(few, np.float32), case[0]))
    for got, wanted in zip(
        max_results(cpu, x, case[1])[:4], max_results(reference, x, case[1])[:4], strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


@_slow
@given(case=cases())
def test_max_unpool_agrees_with_the_reference(case: Case) -> None:
    shape, pooling = case
    x = values(*shape)
    y, positions = reference.max_pool_positions(x, pooling)
    indices = reference.max_pool_indices(positions, shape[2:], pooling)
    assume(indices.min() >= 0)
    assume(indices.max() < shape[2] * shape[3])
    # A picture of one pixel lies in memory both ways, and its results may be in either.
    assume(indices.transpose(0, 2, 3, 1).flags.c_contiguous)
    agree(
        [cpu.max_unpool(y, indices, shape[2:]), cpu.max_unpool_backward(x, indices)],
        [reference.max_unpool(y, indices, shape[2:]), reference.max_unpool_backward(x, indices)],
    )


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize("shape", [(40, 32, 28, 28), (1, 48, 160, 120)])
@pytest.mark.parametrize(
    "pooling",
    [Pooling((2, 2), (2, 2), (0, 0)), Pooling((3, 3), (2, 2), (1, 1))],
    ids=["apart", "overlapping"],
)
def test_same_bits_on_any_number_of_threads(shape: tuple[int, ...], pooling: Pooling) -> None:
    x = values(*shape)
    runs = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        results = max_results(cpu, x, pooling) + avg_results(cpu, x, pooling)
        y, indices = results[0], results[3]
        results += [cpu.max_unpool(y, indices, shape[2:]), cpu.max_unpool_backward(x, indices)]
        runs.append(results)
    expected = max_results(reference, x, pooling) + avg_results(reference, x, pooling)
    agree(runs[0][: len(expected)], expected)
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_other_layouts_and_dtypes_are_the_references() -> None:
    pooling = Pooling((2, 2), (2, 2), (0, 0))
    for x in (np.ascontiguousarray(values(2, 3, 6, 6)), values(2, 3, 6, 6).astype(np.float64)):
        y, positions = cpu.max_pool_positions(x, pooling)
        wanted, where = reference.max_pool_positions(x, pooling)
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(positions, where)
        assert y.dtype == x.dtype
        assert y.strides == wanted.strides
