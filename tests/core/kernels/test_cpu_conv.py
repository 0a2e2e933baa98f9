"""The CPU backend's convolutions against the reference kernels in float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.kernels import reference, threads
from core.kernels.layout import channels_first
from core.kernels.reference.conv import Window, weight_view

cpu = pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")
plan = pytest.importorskip("core.kernels.cpu.plan")

Case = tuple[tuple[int, ...], tuple[int, ...], Window]

# Kernel, stride, padding, dilation as networks use them, and some that none does.
WINDOWS = [
    (1, 1, 0, 1),
    (1, 2, 0, 1),
    (3, 1, 1, 1),
    (3, 1, 2, 2),
    (3, 2, 1, 1),
    (4, 2, 1, 1),
    (5, 1, 2, 1),
    (5, 2, 2, 1),
    (7, 2, 3, 1),
    (8, 4, 0, 1),
    (11, 4, 2, 1),
    (2, 3, 2, 1),
    (2, 2, 1, 2),
]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Shape of the input, shape of the weight, window."""
    axes = [draw(st.sampled_from(WINDOWS))] * 2
    if draw(st.booleans()):
        axes[1] = draw(st.sampled_from(WINDOWS))
    kernel, stride, padding, dilation = zip(*axes, strict=True)
    size = [
        draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 20))
        for k, p, d in zip(kernel, padding, dilation, strict=True)
    ]
    batch, channels = draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 3, 16, 17, 33]))
    filters = draw(st.sampled_from([1, 5, 16, 20, 32, 40, 65]))
    return (batch, channels, *size), (filters, channels, *kernel), Window(stride, padding, dilation)


def operands(case: Case, dtype: str = "f4") -> tuple[np.ndarray, ...]:
    """Input, weight, bias and gradient of the result."""
    shape, weight, window = case
    rng = np.random.default_rng(0)
    result = (shape[0], weight[0], *window.output_size(shape[2:], weight[2:]))
    shapes = (shape, weight, weight[:1], result)
    return tuple(rng.standard_normal(s).astype("f4").astype(dtype) for s in shapes)


def results(kernels: object, case: Case, dtype: str = "f4") -> list[np.ndarray]:
    """Forward pass, input gradient, weight gradient."""
    x, weight, bias, gy = operands(case, dtype)
    size, kernel, window = x.shape[2:], weight.shape[2:], case[2]
    return [
        kernels.convolve(x, weight, bias, window),  # type: ignore[attr-defined]
        kernels.convolve_input_gradient(gy, weight, size, window),  # type: ignore[attr-defined]
        kernels.convolve_weight_gradient(x, gy, kernel, window),  # type: ignore[attr-defined]
    ]


def agree(ours: list[np.ndarray], expected: list[np.ndarray], error: float = 1e-5) -> None:
    """Difference relative to the largest value."""
    for got, wanted in zip(ours, expected, strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == np.float32
        assert np.abs(got - wanted).max() <= error * np.abs(wanted).max()


@pytest.fixture
def default_threads() -> Iterator[None]:
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_agrees_with_the_reference(case: Case) -> None:
    shape, weight, _ = case
    near = weight[2:] == (3, 3) and shape[1] % 16 == weight[0] % 16 == 0
    agree(results(cpu, case), results(reference, case, "f8"), 1e-4 if near else 1e-5)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    padding=st.integers(1, 2),
    channels=st.sampled_from([16, 32, 48]),
    filters=st.sampled_from([16, 32, 80]),
)
def test_winograd_agrees_with_the_reference(
    batch: int, size: tuple[int, int], padding: int, channels: int, filters: int
) -> None:
    window = Window((1, 1), (padding, padding), (1, 1))
    case = (batch, channels, *size), (filters, channels, 3, 3), window
    agree(results(cpu, case), results(reference, case, "f8"), 1e-4)


def test_winograd_is_chosen_where_it_wins() -> None:
    window = Window((1, 1), (1, 1), (1, 1))
    assert plan.forward((1, 64, 32, 32), (64, 64, 3, 3), window, False).winograd
    assert not plan.forward((1, 64, 2, 2), (64, 64, 3, 3), window, False).winograd
    assert not plan.forward((1, 3, 32, 32), (64, 3, 3, 3), window, False).winograd


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize(
    "case",
    [
        ((4, 16, 32, 32), (32, 16, 3, 3), Window((1, 1), (1, 1), (1, 1))),
        ((2, 64, 16, 16), (160, 64, 4, 4), Window((2, 2), (1, 1), (1, 1))),
    ],
)
def test_same_bits_on_any_number_of_threads(case: Case) -> None:
    runs = []
    for number in (1, 2, 3):
        threads.set_num_threads(number)
        runs.append(results(cpu, case))
    agree(runs[0], results(reference, case, "f8"), 1e-4)
    for other in runs[1:]:
        for first, second in zip(runs[0], other, strict=True):
            assert np.array_equal(first, second)


CASE: Case = ((2, 3, 9, 8), (20, 3, 3, 3), Window((1, 1), (1, 1), (1, 1)))


def test_layouts_and_read_only_arrays() -> None:
    x, weight, bias, gy = operands(CASE)
    expected = results(cpu, CASE)
    last = channels_first(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    packed = weight_view(np.ascontiguousarray(weight.transpose(2, 3, 1, 0)))
    wide = np.repeat(gy, 2, axis=3)[..., ::2]
    for array in (last, packed, wide):
        array.flags.writeable = False
    got = [
        cpu.convolve(last, packed, bias, CASE[2]),
        cpu.convolve_input_gradient(wide, packed, x.shape[2:], CASE[2]),
        cpu.convolve_weight_gradient(last, wide, weight.shape[2:], CASE[2]),
    ]
    for first, second in zip(expected, got, strict=True):
        assert np.array_equal(first, second)


def test_operands_stay_as_they_were() -> None:
    x, weight, bias, gy = before = operands(CASE)
    copies = [array.copy() for array in before]
    cpu.convolve(x, weight, bias, CASE[2], relu=True)
    cpu.convolve_input_gradient(gy, weight, x.shape[2:], CASE[2])
    cpu.convolve_weight_gradient(x, gy, weight.shape[2:], CASE[2])
    for array, copy in zip(before, copies, strict=True):
        assert np.array_equal(array, copy)


def test_results_are_channels_last_and_weights_in_their_memory_order() -> None:
    y, gx, gw = results(cpu, CASE)
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous
    assert gx.transpose(0, 2, 3, 1).flags.c_contiguous
    assert gw.transpose(2, 3, 1, 0).flags.c_contiguous


def test_fused_relu_keeps_nan() -> None:
    x, weight, bias, _ = operands(CASE)
    x[0, 0, 0, 0] = np.nan
    y = cpu.convolve(x, weight, bias, CASE[2])
    fused = cpu.convolve(x, weight, bias, CASE[2], relu=True)
    assert np.isnan(fused).any()
    assert (fused == 0).any()
    np.testing.assert_array_equal(fused, np.maximum(y, 0))


@pytest.mark.parametrize(
    ("shape", "weight", "window"),
    [
        ((2, 4, 6, 6), (6, 2, 3, 3), Window((1, 1), (1, 1), (1, 1), 2)),
        ((2, 4, 9), (6, 4, 3), Window((2,), (1,), (1,))),
        ((1, 2, 4, 5, 6), (3, 2, 2, 3, 3), Window((1, 1, 1), (0, 1, 1), (1, 1, 1))),
    ],
)
def test_what_is_not_covered_is_the_references(
    shape: tuple[int, ...], weight: tuple[int, ...], window: Window
) -> None:
    agree(results(cpu, (shape, weight, window)), results(reference, (shape, weight, window), "f8"))


def test_an_empty_batch() -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    x = np.empty((0, 3, 5, 5), np.float32)
    assert cpu.convolve(x, weight, None, CASE[2]).shape == (0, 4, 5, 5)
