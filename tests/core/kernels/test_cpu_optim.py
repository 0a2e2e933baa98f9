"""The CPU backend's optimiser steps against the reference kernels in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from core.kernels.reference.conv import weight_view
from core.kernels.reference.optim import AdamStep, SGDStep

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

Step = tuple[str, int, SGDStep | AdamStep]

steps = st.one_of(
    st.tuples(
        st.just("sgd"),
        st.integers(0, 1),
        st.builds(
            SGDStep,
            rate=st.just(0.1),
            momentum=st.just(0.9),
            share=st.sampled_from([1.0, 0.5]),
            nesterov=st.booleans(),
            weight_decay=st.sampled_from([0.0, 0.01]),
        ),
    ),
    st.tuples(
        st.just("adam"),
        st.just(2),
        st.builds(
            AdamStep,
            rate=st.just(0.01),
            beta1=st.just(0.9),
            beta2=st.just(0.999),
            root=st.sampled_from([0.03, 1.0]),
            eps=st.just(1e-8),
            weight_decay=st.sampled_from([0.0, 0.01]),
            shrink=st.sampled_from([1.0, 0.99]),
        ),
    ),
)


def plain(x: np.ndarray) -> np.ndarray:
    return x


def packed(x: np.ndarray) -> np.ndarray:
    """In the memory order of a convolution's weight."""
    return weight_view(np.ascontiguousarray(x.transpose(2, 3, 1, 0))) if x.ndim == 4 else x


def strided(x: np.ndarray) -> np.ndarray:
    return np.repeat(x, 2, axis=-1)[..., ::2]


arrangements = st.sampled_from([plain, packed, strided])


def after(
    kernels: Any,
    step: Step,
    shape: tuple[int, ...],
    arrange: Callable[[np.ndarray], np.ndarray] = plain,
    of_gradient: Callable[[np.ndarray], np.ndarray] = plain,
    dtype: str = "f4",
) -> list[np.ndarray]:
    """Parameter, gradient and state after two steps."""
    rng = np.random.default_rng(0)
    name, states, numbers = step
    arrays = [rng.standard_normal(shape).astype("f4").astype(dtype) for _ in range(4)]
    gradient, param = of_gradient(arrays[0]), arrange(arrays[1])
    state = [arrange(a) for a in (arrays[2], np.abs(arrays[3]))[:states]]
    for _ in range(2):
        getattr(kernels, name)(param, gradient, *(state if states else (None,)), numbers)
    return [param, gradient, *state]


@settings(max_examples=60, deadline=None)
@given(
    step=steps,
    shape=st.sampled_from([(1,), (37,), (5, 9), (7, 3, 3, 3), (16, 4, 1, 1)]),
    arrange=arrangements,
    of_gradient=arrangements,
)
def test_agrees_with_the_reference(
    step: Step,
    shape: tuple[int, ...],
    arrange: Callable[[np.ndarray], np.ndarray],
    of_gradient: Callable[[np.ndarray], np.ndarray],
) -> None:
    ours = after(cpu, step, shape, arrange, of_gradient)
    for got, wanted in zip(ours, after(reference, step, shape, dtype="f8"), strict=True):
        assert got.dtype == np.float32
        assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize(
    "step",
    [
        ("sgd", 1, SGDStep(0.1, 0.9, 1.0, False, 1e-4)),
        ("adam", 2, AdamStep(1e-3, 0.9, 0.999, 0.5, 1e-8, 1e-4, 1.0)),
    ],
    ids=["sgd", "adam"],
)
def test_same_bits_on_any_number_of_threads(step: Step) -> None:
    runs = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        runs.append(after(cpu, step, (701, 801)))
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)
