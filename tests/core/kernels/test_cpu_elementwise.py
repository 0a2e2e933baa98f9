"""The CPU backend's activations and dropout against the reference kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from tests.core.bench import channels_last, contiguous

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

shapes = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 5), st.integers(1, 40)),
    st.tuples(*[st.integers(1, 7)] * 4),
)
arrangements = st.sampled_from([contiguous, channels_last])
_some = settings(max_examples=40, deadline=None)


def values(shape: tuple[int, ...], arrange: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    x = np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)
    return arrange(np.where(np.abs(x) < 0.3, np.float32(0), x)) if len(shape) > 2 else x


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@_some
@given(shape=shapes, first=arrangements, second=arrangements)
def test_rectifiers_agree_with_the_reference(
    shape: tuple[int, ...],
    first: Callable[[np.ndarray], np.ndarray],
    second: Callable[[np.ndarray], np.ndarray],
) -> None:
    x, gy = values(shape, first), values(shape, second) + 1
    before = x.copy(), gy.copy()
    for got, wanted in (
        (cpu.relu_backward(gy, x), reference.relu_backward(gy, x)),
        (cpu.leaky_relu(x, 0.2), reference.leaky_relu(x, 0.2)),
        (cpu.leaky_relu_backward(gy, x, 0.2), reference.leaky_relu_backward(gy, x, 0.2)),
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=0)
        assert got.dtype == np.float32
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(gy, before[1])


@_some
@given(shape=shapes, first=arrangements, second=arrangements)
def test_activations_agree_with_the_reference(
    shape: tuple[int, ...],
    first: Callable[[np.ndarray], np.ndarray],
    second: Callable[[np.ndarray], np.ndarray],
) -> None:
    x, gy = 3 * values(shape, first), values(shape, second) + 1
    for name, argument in (("sigmoid", ()), ("tanh", ()), ("elu", (1.5,)), ("softplus", ())):
        pairs = [(getattr(k, name)(x, *argument) for k in (cpu, reference))]
        if name != "softplus":
            pairs.append(getattr(k, f"{name}_backward")(gy, x, *argument) for k in (cpu, reference))
        for got, wanted in pairs:
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=2e-6)
            assert got.dtype == np.float32


@_some
@given(
    shape=shapes,
    arrange=arrangements,
    p=st.floats(0, 1),
    key=st.integers(0, 2**32 - 1),
    first=st.sampled_from([0, 5, 2**32 - 3, 2**40]),
)
def test_dropout_agrees_with_the_reference(
    shape: tuple[int, ...],
    arrange: Callable[[np.ndarray], np.ndarray],
    p: float,
    key: int,
    first: int,
) -> None:
    x = values(shape, arrange)
    mask = cpu.dropout_mask(shape, p, key, first, x)
    np.testing.assert_array_equal(mask, reference.dropout_mask(shape, p, key, first, x))
    y = cpu.dropout(x, mask, 1.5)
    np.testing.assert_array_equal(y, reference.dropout(x, mask, 1.5))
    axes = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
    assert mask.transpose(axes).flags.c_contiguous
    assert y.transpose(axes).flags.c_contiguous


@pytest.mark.usefixtures("default_threads")
def test_same_bits_on_any_number_of_threads() -> None:
    x, gy = (values((11, 40, 37, 29), channels_last) + i for i in range(2))
    runs = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        mask = cpu.dropout_mask(x.shape, 0.3, 7, 5, x)
        runs.append((cpu.leaky_relu_backward(gy, x, 0.1), mask, cpu.dropout(x, mask, 2.0)))
    np.testing.assert_array_equal(runs[0][1], reference.dropout_mask(x.shape, 0.3, 7, 5, x))
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


def test_strided_operands_are_the_references() -> None:
    x = values((4, 6), contiguous)[:, ::2]
    np.testing.assert_array_equal(cpu.leaky_relu(x, 0.1), reference.leaky_relu(x, 0.1))
    np.testing.assert_array_equal(cpu.relu_backward(x, x), reference.relu_backward(x, x))
