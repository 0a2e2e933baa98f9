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
winograd_plan = pytest.importorskip("core.kernels.cpu.winograd_plan")

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
    return convolutions(kernels, case[2], *operands(case, dtype))


def convolutions(
    kernels: object,
    window: Window,
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    gy: np.ndarray,
) -> list[np.ndarray]:
    size, kernel = x.shape[2:], weight.shape[2:]
    return [
        kernels.convolve(x, weight, bias, window),  # type: ignore[attr-defined]
        kernels.convolve_input_gradient(gy, weight, size, window),  # type: ignore[attr-defined]
        kernels.convolve_weight_gradient(x, gy, kernel, window),  # type: ignore[attr-defined]
    ]


def agrees(case: Case, error: float = 1e-5) -> None:
    """Differences relative to the largest value, or to the spread of the sums where it is more.

    Where all of few sums happen to cancel, no error relative to what is left of them means much.
    The spread of a sum of products is the root of the sum of their squares.
    """
    squares = convolutions(reference, case[2], *(a**2 for a in operands(case, "f8")))
    for got, wanted, square in zip(
        results(cpu, case), results(reference, case, "f8"), squares, strict=True
    ):
        scale = max(np.abs(wanted).max(), np.sqrt(square.max()))
        assert got.shape == wanted.shape
        assert got.dtype == np.float32
        assert np.abs(got - wanted).max() <= error * scale


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
    _, weight, window = case
    # Winograd computes 3x3 and 2x2 kernels, and so many positions of larger ones that one
    # remainder modulo the stride sees.
    taps = {-(-k // s) for k, s in zip(weight[2:], window.stride, strict=True)}
    agrees(case, 1e-4 if taps & {2, 3} else 1e-5)


@pytest.fixture
def winograd_only(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[int]:
    """Plans by Winograd tiles of so many points along a side, and by Winograd's weight gradient."""
    side = request.param
    with monkeypatch.context() as patch:
        patch.setattr(winograd_plan, "cost", lambda g, n, other: abs(other - side))
        patch.setattr(winograd_plan, "_gradient_wins", lambda g, n, other: True)
        forget_plans()
        yield side
    forget_plans()


def forget_plans() -> None:
    for function in (plan.forward, plan.input_gradient, plan.weight_gradient):
        function.cache_clear()


@pytest.mark.parametrize(
    ("winograd_only", "kernel", "stride"),
    [(4, 3, 1), (6, 3, 1), (5, 2, 1), (5, 4, 2), (6, 6, 2)],
    indirect=["winograd_only"],
)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(*[st.sampled_from([1, 6, 13, 20])] * 2),
    padding=st.integers(1, 2),
    channels=st.sampled_from([3, 16, 33]),
    filters=st.sampled_from([5, 16, 80]),
)
def test_winograd_agrees_with_the_reference(
    winograd_only: int,
    kernel: int,
    stride: int,
    batch: int,
    size: tuple[int, int],
    padding: int,
    channels: int,
    filters: int,
) -> None:
    window = Window((stride, stride), (padding, padding), (1, 1))
    if stride > 1:  # whole vectors of channels, and a picture that the kernel fits into
        channels, size = 16 * -(-channels // 16), (size[0] + kernel - 3, size[1] + kernel - 3)
    case = (batch, channels, *size), (filters, channels, kernel, kernel), window
    assert plan.forward(*case, False).winograd.side == winograd_only
    assert all(phase.plan.winograd for phase in plan.input_gradient(*case))
    assert plan.weight_gradient(*case).winograd
    agrees(case, 1e-4)


THREE = 3, Window((1, 1), (1, 1), (1, 1))
FOUR = 4, Window((2, 2), (1, 1), (1, 1))


@pytest.mark.parametrize(
    ("shape", "filters", "kernel", "window"),
    [
        ((1, 16, 300, 300), 16, *THREE),
        ((32, 16, 32, 32), 32, *THREE),
        ((4, 260, 12, 12), 140, *THREE),
        ((16, 32, 64, 64), 64, *FOUR),
        ((16, 144, 16, 16), 140, *FOUR),
    ],
)
def test_winograd_weight_gradient_of_many_tiles_and_channels(
    shape: tuple[int, ...], filters: int, kernel: int, window: Window
) -> None:
    weight = filters, shape[1], kernel, kernel
    assert plan.weight_gradient(shape, weight, window).winograd
    x, _, _, gy = operands((shape, weight, window))
    ours = cpu.convolve_weight_gradient(x, gy, weight[2:], window)
    x, gy = x.astype("f8"), gy.astype("f8")
    agree([ours], [reference.convolve_weight_gradient(x, gy, weight[2:], window)], 1e-4)


def test_winograd_computes_every_second_input_gradient() -> None:
    case = (4, 32, 40, 40), (32, 32, 5, 5), Window((2, 2), (2, 2), (1, 1))
    assert any(phase.plan.winograd for phase in plan.input_gradient(*case))
    agrees(case, 1e-4)


def test_winograd_takes_many_filters_in_rounds() -> None:
    window = Window((1, 1), (1, 1), (1, 1))
    large, small = (
        ((1, 512, 14, 14), (512, 512, 3, 3), window),
        ((1, 256, 28, 28), (400, 256, 3, 3), window),
    )
    assert len(plan.forward(*small, False).rounds) > 1
    agrees(large, 1e-4)  # leaves buffers that are larger than the next needs
    agrees(small, 1e-4)


def test_winograd_is_chosen_where_it_wins() -> None:
    window = Window((1, 1), (1, 1), (1, 1))
    assert plan.forward((1, 64, 32, 32), (64, 64, 3, 3), window, False).winograd
    assert not plan.forward((1, 64, 2, 2), (64, 64, 3, 3), window, False).winograd
    assert not plan.forward((1, 3, 32, 32), (64, 3, 3, 3), window, False).winograd
    assert plan.forward((1, 512, 14, 14), (512, 512, 3, 3), window, False).winograd.side == 4
    assert plan.weight_gradient((1, 64, 32, 32), (64, 64, 3, 3), window).winograd
    assert not plan.weight_gradient((1, 3, 32, 32), (64, 3, 3, 3), window).winograd
    window = Window((2, 2), (1, 1), (1, 1))
    assert plan.forward((64, 64, 32, 32), (128, 64, 4, 4), window, False).winograd
    assert not plan.forward((64, 3, 64, 64), (64, 3, 4, 4), window, False).winograd
    assert not plan.forward((64, 256, 8, 8), (512, 256, 4, 4), window, False).winograd


@pytest.mark.usefixtures("default_threads")
@pytest.mark.parametrize(
    "case",
    [
        ((4, 16, 32, 32), (32, 16, 3, 3), Window((1, 1), (1, 1), (1, 1))),
        ((2, 64, 16, 16), (160, 64, 4, 4), Window((2, 2), (1, 1), (1, 1))),
        ((4, 64, 16, 16), (128, 16, 3, 3), Window((1, 1), (1, 1), (1, 1), 4)),
        ((4, 64, 32, 32), (64, 1, 3, 3), Window((1, 1), (1, 1), (1, 1), 64)),
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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=cases(),
    groups=st.integers(2, 5),
    channels=st.integers(1, 3),
    filters=st.sampled_from([1, 2, 4, 17]),
)
def test_groups_agree_with_the_reference(
    case: Case, groups: int, channels: int, filters: int
) -> None:
    (n, _, *size), (_, _, *kernel), window = case
    shape, weight = (n, groups * channels, *size), (groups * filters, channels, *kernel)
    case = shape, weight, window._replace(groups=groups)
    agrees(case)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), channels=st.sampled_from([2, 15, 16, 17, 40, 64]))
def test_depthwise_agrees_with_the_reference(case: Case, channels: int) -> None:
    (n, _, *size), (_, _, *kernel), window = case
    case = (n, channels, *size), (channels, 1, *kernel), window._replace(groups=channels)
    agrees(case)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    window=st.sampled_from(WINDOWS),
    length=st.integers(5, 40),
    sizes=st.sampled_from([(1, 4, 1), (3, 20, 1), (4, 6, 2), (16, 16, 16)]),
)
def test_one_axis_agrees_with_the_reference(
    window: tuple[int, int, int, int], length: int, sizes: tuple[int, int, int]
) -> None:
    (kernel, stride, padding, dilation), (channels, filters, groups) = window, sizes
    case: Case = (
        (2, channels, length + kernel),
        (filters, channels // groups, kernel),
        Window((stride,), (padding,), (dilation,), groups),
    )
    agrees(case)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), channels=st.integers(1, 3), filters=st.sampled_from([16, 33]))
def test_input_gradient_of_few_channels(case: Case, channels: int, filters: int) -> None:
    (n, _, *size), (_, _, *kernel), window = case
    case = (n, channels, *size), (filters, channels, *kernel), window
    weight, gy = operands(case)[1], operands(case)[3]
    expected = reference.convolve_input_gradient(
        gy.astype("f8"), weight.astype("f8"), tuple(size), window
    )
    agree([cpu.convolve_input_gradient(gy, weight, tuple(size), window)], [expected])


def test_input_gradient_of_few_channels_in_several_blocks() -> None:
    case = (1, 3, 90, 201), (16, 3, 4, 4), Window((2, 1), (1, 2), (1, 1))
    assert plan.scattered(*case).geometry.blocks > 1
    agrees(case)


@pytest.mark.parametrize("kernel", [(4, 4), (1, 1), (3, 5)])
def test_a_kernel_that_covers_its_input_is_a_product(kernel: tuple[int, int]) -> None:
    case = (3, 20, *kernel), (7, 20, *kernel), Window((2, 1), (0, 0), (1, 1))
    agrees(case)
    x, weight, bias, _ = operands(case)
    y = cpu.convolve(x, weight, bias, case[2])
    np.testing.assert_array_equal(
        cpu.convolve(x, weight, bias, case[2], relu=True), np.maximum(y, 0)
    )


@pytest.mark.parametrize(
    "case",
    [
        ((5, 512, 4, 4), (64, 512, 3, 3), Window((1, 1), (1, 1), (1, 1))),
        ((40, 128, 8, 8), (40, 128, 4, 4), Window((2, 2), (1, 1), (1, 1))),
        ((9, 16, 3, 9), (16, 16, 2, 2), Window((1, 1), (0, 0), (1, 1))),
    ],
)
def test_weight_gradient_of_several_pictures_and_slices_at_once(case: Case) -> None:
    x, _, _, gy = operands(case)
    kernel, window = case[1][2:], case[2]
    expected = reference.convolve_weight_gradient(x.astype("f8"), gy.astype("f8"), kernel, window)
    agree([cpu.convolve_weight_gradient(x, gy, kernel, window)], [expected])


def test_three_axes_are_the_references() -> None:
    case = (1, 2, 4, 5, 6), (3, 2, 2, 3, 3), Window((1, 1, 1), (0, 1, 1), (1, 1, 1))
    agrees(case)


def test_an_empty_batch() -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    x = np.empty((0, 3, 5, 5), np.float32)
    assert cpu.convolve(x, weight, None, CASE[2]).shape == (0, 4, 5, 5)
