"""The CPU backend's optimiser steps against the reference kernels in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from core.kernels.reference.conv import weight_view
from core.kernels.reference.optim import AdagradStep, AdamStep, RMSpropStep, SGDStep

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

# The kernel's name, which arrays of state there are, and the numbers.
Step = tuple[str, tuple[bool, ...], SGDStep | AdagradStep | RMSpropStep | AdamStep]

steps = st.one_of(
    st.tuples(
        st.just("sgd"),
        st.tuples(st.booleans()),
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
        st.just("adagrad"),
        st.just((True,)),
        st.builds(
            AdagradStep,
            rate=st.just(0.1),
            eps=st.just(1e-10),
            weight_decay=st.sampled_from([0.0, 0.01]),
        ),
    ),
    st.tuples(
        st.just("rmsprop"),
        st.tuples(st.just(True), st.booleans(), st.booleans()),
        st.builds(
            RMSpropStep,
            rate=st.just(0.01),
            alpha=st.just(0.95),
            eps=st.just(0.01),
            weight_decay=st.sampled_from([0.0, 0.01]),
            momentum=st.just(0.9),
        ),
    ),
    st.tuples(
        st.just("adam"),
        st.just((True, True)),
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
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


arrangements = st.sampled_from([plain, packed, strided])


def after(
    kernels: Any,
    step: Step,
    shapes: Sequence[tuple[int, ...]],
    arrange: Callable[[np.ndarray], np.ndarray] = plain,
    of_gradient: Callable[[np.ndarray], np.ndarray] = plain,
    dtype: str = "f4",
) -> list[np.ndarray]:
    """Parameters, gradients and state after two steps."""
    rng = np.random.default_rng(0)
    name, used, numbers = step
    pieces = []
    for shape in shapes:
        arrays = [rng.standard_normal(shape).astype("f4").astype(dtype) for _ in range(2)]
        # Squares, then averages: no variance is negative.
        state = [np.full(shape, 2.0 - i, dtype) for i in range(len(used))]
        own = [arrange(a) if there else None for a, there in zip(state, used, strict=True)]
        pieces.append((arrange(arrays[0]), of_gradient(arrays[1]), *own))
    for _ in range(2):
        getattr(kernels, name)(pieces, numbers)
    return [array for piece in pieces for array in piece if array is not None]


@settings(max_examples=60, deadline=None)
@given(
    step=steps,
    shapes=st.lists(
        st.sampled_from([(), (0,), (1,), (37,), (5, 9), (7, 3, 3, 3), (16, 4, 1, 1)]),
        min_size=1,
        max_size=4,
    ),
    arrange=arrangements,
    of_gradient=arrangements,
)
def test_agrees_with_the_reference(
    step: Step,
    shapes: list[tuple[int, ...]],
    arrange: Callable[[np.ndarray], np.ndarray],
    of_gradient: Callable[[np.ndarray], np.ndarray],
) -> None:
    ours = after(cpu, step, shapes, arrange, of_gradient)
    for got, wanted in zip(ours, after(reference, step, shapes, dtype="f8"), strict=True):
        assert got.dtype == np.float32
        assert np.abs(got - wanted).max(initial=0) <= 1e-5 * np.abs(wanted).max(initial=0)


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize(
    "step",
    [
        ("sgd", (True,), SGDStep(0.1, 0.9, 1.0, False, 1e-4)),
        ("adagrad", (True,), AdagradStep(0.1, 1e-10, 1e-4)),
        ("rmsprop", (True, True, True), RMSpropStep(0.01, 0.95, 0.01, 1e-4, 0.9)),
        ("adam", (True, True), AdamStep(1e-3, 0.9, 0.999, 0.5, 1e-8, 1e-4, 1.0)),
    ],
    ids=["sgd", "adagrad", "rmsprop", "adam"],
)
def test_same_bits_on_any_number_of_threads(step: Step) -> None:
    runs = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        runs.append(after(cpu, step, [(701, 801), (3,), (29, 31)]))
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)


@given(
    shapes=st.lists(st.sampled_from([(), (37,), (7, 3, 3, 3)]), min_size=1), arrange=arrangements
)
@settings(deadline=None)
def test_clipping_agrees_with_the_reference(
    shapes: list[tuple[int, ...]], arrange: Callable[[np.ndarray], np.ndarray]
) -> None:
    rng = np.random.default_rng(0)
    arrays = [arrange(rng.standard_normal(shape).astype("f4")) for shape in shapes]
    before = [a.astype("f8") for a in arrays]
    total = cpu.square_sum(arrays)
    assert (total.shape, total.dtype) == ((), "f8")
    np.testing.assert_allclose(total, reference.square_sum(before), rtol=1e-6)
    cpu.scale_(arrays, np.asarray(0.25))
    for array, own in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, own * 0.25)


@pytest.mark.usefixtures("default_threads")
def test_the_norm_has_the_same_bits_on_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n).astype("f4") for n in (700_001, 3, 70_001)]
    sums = set()
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        sums.add(float(cpu.square_sum(arrays)))
    assert len(sums) == 1
