"""The CPU backend's recurrent layers against the reference kernels in float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def operands(kind: str, steps: int, n: int, size: int, bias: bool) -> list[Any]:
    """The input's part of the gates, weights, bias, first states, gradient of the result."""
    rng, width = np.random.default_rng(steps + n + size), GATES[kind] * size
    states = 2 if kind == "lstm" else 1
    shapes = [(steps, n, width), (width, size), (width,), *[(n, size)] * states]
    arrays = [rng.standard_normal(s, np.float32) for s in (*shapes, (steps + states, n, size))]
    arrays[1] /= np.float32(np.sqrt(size))
    projected, w, b, *first, gy = arrays
    return [projected, w, b if bias else None, first, gy]


def results(
    kernels: Any, kind: str, given: list[Any], active: Any, reverse: bool
) -> list[np.ndarray]:
    name, _, relu = kind.partition("_")
    forward, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    if relu:
        forward, backward = (partial(f, relu=relu == "relu") for f in (forward, backward))
    projected, w, b, first, gy = given
    out, saved = forward(projected.copy(), w, b, first, active, reverse)
    ga, gb, states = backward(gy, saved, w, active, reverse)
    return [out, kernels.states_before(saved, reverse), ga, gb, *states]


def exact(given: list[Any]) -> list[Any]:
    def wide(a: Any) -> Any:
        return [wide(x) for x in a] if isinstance(a, list) else a.astype(np.float64)

    return [None if a is None else wide(a) for a in given]


def agree(ours: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for got, expected in zip(ours, wanted, strict=True):
        assert got.dtype == np.float32
        assert got.shape == expected.shape
        assert np.abs(got - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(list(GATES)),
    steps=st.integers(1, 6),
    n=st.sampled_from([1, 3, 8, 9, 20, 33, 70]),
    size=st.sampled_from([1, 2, 15, 16, 33, 64, 100]),
    bias=st.booleans(),
    reverse=st.booleans(),
    ends=st.booleans(),
)
def test_agrees_with_the_reference(
    kind: str, steps: int, n: int, size: int, bias: bool, reverse: bool, ends: bool
) -> None:
    given = operands(kind, steps, n, size, bias)
    lengths = np.random.default_rng(n).integers(0, steps + 1, n)
    active = (np.arange(steps)[:, None] < lengths)[:, :, None] if ends else None
    wanted = results(reference, kind, exact(given), active, reverse)
    agree(results(cpu, kind, given, active, reverse), wanted)


@pytest.mark.parametrize("kind", GATES)
def test_read_only_and_strided_operands(kind: str) -> None:
    projected, w, b, first, gy = operands(kind, 3, 4, 5, True)
    wanted = results(reference, kind, exact([projected, w, b, first, gy]), None, False)
    for array in (w, b, *first, gy):
        array.flags.writeable = False
    strided = np.asfortranarray(w), np.repeat(b, 2)[::2], first, np.asfortranarray(gy)
    agree(results(cpu, kind, [projected, *strided], None, False), wanted)


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize("kind", GATES)
def test_same_bits_on_any_number_of_threads(kind: str) -> None:
    given, runs = operands(kind, 4, 100, 96, True), []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        runs.append(results(cpu, kind, given, None, False))
    agree(runs[0], results(reference, kind, exact(given), None, False))
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, second)
