"""Every operation: dtypes, layouts, the strict device, gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import Tensor
from core import functional as F
from core.gradient_check import gradient_check
from core.kernels import layout
from tests.core import bench, fake_device
from tests.core.bench import Case
from tests.core.cases import CASES

TOLERANCE = {"float32": 2e-6, "float64": 1e-12}
# A GPU adds in another order, and its exponentials are others.
GPU_TOLERANCE = {"float32": 1e-5, "float64": 1e-11}
# 1 - y has few digits left where y is near one, in float32 on any device.
FEW_DIGITS = {("sigmoid-far", "float32"): 2e-3}

every_case = pytest.mark.parametrize("case", CASES, ids=str)
differentiable = pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=str)
every_dtype = pytest.mark.parametrize("dtype", bench.DTYPES)


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def test_every_operation_has_a_case() -> None:
    covered = {case.function for case in CASES} | set(bench.EXEMPT)
    assert bench.public_functions() - covered == set(), "operations without a case"
    assert covered - bench.public_functions() == set(), "cases without an operation"


def test_no_two_cases_share_a_name() -> None:
    names = [str(case) for case in CASES]
    assert sorted(names) == sorted(set(names))


@every_dtype
@every_case
def test_result_keeps_the_dtype(case: Case, dtype: str) -> None:
    outputs, gradients = bench.run(case, case.arrays(dtype))
    if case.keeps_dtype:
        assert {y.dtype for y in outputs if y.dtype.kind == "f"} == {np.dtype(dtype)}
    for array, gradient in zip(case.arrays(dtype), gradients, strict=True):
        if gradient is not None:
            assert (gradient.shape, gradient.dtype) == (array.shape, array.dtype)
    assert all(type(y.data) is np.ndarray for y in outputs)


@differentiable
def test_every_operand_that_asks_gets_a_gradient(case: Case) -> None:
    _, gradients = bench.run(case, case.arrays("float32"))
    wanted = [g.grad for g in case.given]
    assert [g is not None for g in gradients] == wanted


@every_dtype
@every_case
def test_operands_and_gradient_are_not_written(case: Case, dtype: str) -> None:
    arrays = case.arrays(dtype)
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False

    def frozen(gy: np.ndarray) -> np.ndarray:
        gy.flags.writeable = False
        return gy

    bench.run(case, arrays, frozen)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


@every_dtype
@every_case
def test_every_layout_gives_the_same(case: Case, dtype: str) -> None:
    expected = bench.run(case, case.arrays(dtype))
    for operands, gradients in itertools.product(bench.LAYOUTS.values(), repeat=2):
        arrays = [operands(a) for a in case.arrays(dtype)]
        outputs, found = bench.run(case, arrays, gradients)
        _assert_same(outputs, found, *expected, TOLERANCE[dtype])


def _ranks_with_channels(case: Case) -> set[int]:
    """The numbers of axes of the operands that can lie channels-last in memory."""
    arrays = [bench.channels_last(a) for a in case.arrays("float32")]
    operands = [a for a, g in zip(arrays, case.given, strict=True) if g.grad]
    return {a.ndim for a in operands if layout.is_channels_last(a)}


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.keeps_layout and _ranks_with_channels(c)], ids=str
)
@pytest.mark.parametrize("device", ["cpu", pytest.param("fake", marks=pytest.mark.device)])
def test_channels_last_stays(case: Case, device: str) -> None:
    convert = fake_device.from_host if device == "fake" else lambda a: a
    arrays = [convert(bench.channels_last(a)) for a in case.arrays("float32")]
    ranks = _ranks_with_channels(case)
    for y in bench.run(case, arrays, lambda gy: convert(bench.channels_last(gy)))[0]:
        if y.ndim in ranks:
            assert lies_last(y.data), f"result of shape {y.shape} has strides {y.data.strides}"


def lies_last(y: np.ndarray) -> bool:
    """Whether y is contiguous as (N, *S, C); axes of length one make both layouts valid."""
    return layout.channels_last(y).flags.c_contiguous


@pytest.mark.device
@every_dtype
@every_case
def test_strict_device_gives_the_same(case: Case, dtype: str) -> None:
    if fake_device.ON_GPU and case.keeps_dtype:
        expected = _rounded(bench.run(case, [_exact(a) for a in case.arrays(dtype)]), dtype)
    else:
        expected = bench.run(case, case.arrays(dtype))
    tolerance = TOLERANCE[dtype]
    if fake_device.ON_GPU:
        tolerance = FEW_DIGITS.get((str(case), dtype), GPU_TOLERANCE[dtype])
    transfers = fake_device.fake.transfers
    for arrange in (bench.contiguous, bench.channels_last):
        arrays = [fake_device.from_host(arrange(a)) for a in case.arrays(dtype)]
        outputs, gradients = bench.run(case, arrays, fake_device.from_host)
        assert fake_device.fake.transfers == transfers, "values were copied to the host"
        on_host = [Tensor(fake_device.to_host(y.data)) for y in outputs]
        found = [None if g is None else fake_device.to_host(g) for g in gradients]
        _assert_same(on_host, found, *expected, tolerance)


def _exact(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _rounded(results: tuple[list[Tensor], list[Any]], dtype: str) -> tuple[list[Tensor], list[Any]]:
    """What was computed in float64, in `dtype`."""

    def rounded(a: Any) -> Any:
        return a if a is None or a.dtype != np.float64 else a.astype(dtype)

    outputs, gradients = results
    return [Tensor(rounded(y.numpy())) for y in outputs], [rounded(g) for g in gradients]


@pytest.mark.parametrize("case", [c for c in CASES if c.gradient and c.numerical], ids=str)
def test_gradient_check(case: Case) -> None:
    arrays = case.arrays("float64")
    chosen = [i for i, g in enumerate(case.given) if g.grad]

    def f(*tensors: Any) -> Any:
        operands: list[Any] = list(arrays)
        for i, t in zip(chosen, tensors, strict=True):
            operands[i] = t
        return case.run(F, *operands)

    assert gradient_check(f, *(arrays[i] for i in chosen), tolerance=1e-6) < 1e-6


@differentiable
def test_unneeded_gradients_are_none(case: Case) -> None:
    wanted = [i for i, g in enumerate(case.given) if g.grad]
    everything = bench.run(case, case.arrays("float32"))[1]
    for kept in wanted:
        frozen = frozenset(wanted) - {kept}
        tensors = bench.tensors_of(case, case.arrays("float32"), frozen=frozen)
        outputs = bench.floats(bench.flat(case.run(F, *tensors)))
        for node in bench.graph(*outputs):
            if node.backward is not None:
                _watch(node)
        for y, gy in zip(outputs, bench.output_gradients(outputs), strict=True):
            y.backward(Tensor(gy.astype(y.dtype)), retain_graph=True)
        assert all(tensors[i].grad is None for i in frozen)
        grad = tensors[kept].grad
        assert grad is not None
        assert bench.relative_error(grad.numpy(), everything[kept]) < 1e-6


def _watch(node: Any) -> None:
    """Make the node's backward fail when it computes what no parent asked for."""
    backward = node.backward

    def watched(gy: Any) -> Any:
        gradients = backward(gy)
        assert len(gradients) == len(node.parents)
        for parent, gradient in zip(node.parents, gradients, strict=True):
            assert parent is not None or gradient is None, f"{node.name} computed for nobody"
            assert gradient is None or type(gradient) is np.ndarray
        return gradients

    node.backward = watched


def _assert_same(
    outputs: list[Tensor],
    gradients: list[Any],
    expected: list[Tensor],
    expected_gradients: list[Any],
    tolerance: float,
) -> None:
    for y, e in zip(outputs, expected, strict=True):
        assert y.dtype == e.dtype
        assert bench.relative_error(y.numpy(), e.numpy()) < tolerance
    for g, e in zip(gradients, expected_gradients, strict=True):
        assert (g is None) == (e is None)
        if g is not None:
            assert g.dtype == e.dtype
            assert bench.relative_error(g, e) < tolerance


# ---------------------------------------------------------------------------- drawn shapes


@st.composite
def convolutions(draw: Any, spatial: int, transposed: bool = False) -> dict[str, Any]:
    """Operands and keywords of a convolution that fits."""
    groups = draw(st.integers(1, 2))
    per_group, filters = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    axes = range(spatial)
    kernel = tuple(draw(st.integers(1, 3)) for _ in axes)
    stride = tuple(draw(st.integers(1, 3)) for _ in axes)
    dilation = tuple(draw(st.integers(1, 2)) for _ in axes)
    padding = tuple(draw(st.integers(0, 2)) for _ in axes)
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)
    ]
    size = tuple(draw(st.integers(n, n + 3)) for n in least)
    keywords = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        keywords["padding"] = tuple(
            min(p, (d * (k - 1)) // 2) for p, k, d in zip(padding, kernel, dilation, strict=True)
        )
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    channels = per_group * groups
    weight = (channels, filters, *kernel) if transposed else (filters * groups, per_group, *kernel)
    return {
        "x": rng.standard_normal((draw(st.integers(1, 2)), channels, *size)),
        "w": rng.standard_normal(weight),
        "b": rng.standard_normal(filters * groups),
        "keywords": keywords,
    }


def naive_convolution(x: Any, w: np.ndarray, b: np.ndarray, keywords: dict[str, Any]) -> np.ndarray:
    """The definition, one output value at a time."""
    stride, dilation = keywords["stride"], keywords["dilation"]
    filters, per_group, *kernel = w.shape
    per_filter_group = filters // keywords["groups"]
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in keywords["padding"])])
    size = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    y = np.zeros((x.shape[0], filters, *size))
    for n, f, *place in itertools.product(*map(range, y.shape)):
        first = f // per_filter_group * per_group
        window = tuple(
            slice(o * s, o * s + d * (k - 1) + 1, d)
            for o, s, d, k in zip(place, stride, dilation, kernel, strict=True)
        )
        seen = x[(n, slice(first, first + per_group), *window)]
        y[(n, f, *place)] = (seen * w[f]).sum() + b[f]
    return y


@pytest.mark.parametrize(("name", "spatial"), [("conv1d", 1), ("conv2d", 2), ("conv3d", 3)])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_convolution_of_any_shape(name: str, spatial: int, data: st.DataObject) -> None:
    drawn = data.draw(convolutions(spatial))
    x, w, b, keywords = drawn["x"], drawn["w"], drawn["b"], drawn["keywords"]
    operation = getattr(F, name)
    y = operation(x, w, b, **keywords).numpy()
    assert bench.relative_error(y, naive_convolution(x, w, b, keywords)) < 1e-12
    gradient_check(lambda *a: operation(*a, **keywords), x, w, b)


@given(convolutions(2, transposed=True))
@settings(max_examples=25, deadline=None)
def test_transposed_convolution_is_the_adjoint(drawn: dict[str, Any]) -> None:
    """<conv(u), x> = <u, conv_transpose(x)> for every u, which defines the operation."""
    x, w, b, keywords = drawn["x"], drawn["w"], drawn["b"], drawn["keywords"]
    y = F.conv_transpose2d(x, w, **keywords).numpy()
    u = np.random.default_rng(0).standard_normal(y.shape)
    forward = F.conv2d(u, w, **keywords).numpy()
    assert forward.shape == x.shape
    assert np.isclose((forward * x).sum(), (u * y).sum(), rtol=1e-10, atol=1e-10)
    gradient_check(lambda *a: F.conv_transpose2d(*a, **keywords), x, w, b)


@st.composite
def poolings(draw: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """A picture without ties and keywords of a pooling that fits it."""
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(2))
    keywords = {
        "kernel_size": kernel,
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(2)),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        *(k + draw(st.integers(0, 4)) for k in kernel),
    )
    return bench.apart(*shape).array(
        np.random.default_rng(draw(st.integers(0, 99))), "float64"
    ), keywords


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@given(drawn=poolings())
@settings(max_examples=40, deadline=None)
def test_pooling_of_any_shape(name: str, drawn: tuple[np.ndarray, dict[str, Any]]) -> None:
    x, keywords = drawn
    operation = getattr(F, name)
    y = operation(x, **keywords).numpy()
    (kh, kw), (sh, sw), (ph, pw) = (keywords[k] for k in ("kernel_size", "stride", "padding"))
    fill = -np.inf if name == "max_pool2d" else np.nan
    padded = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)], constant_values=fill)
    for i, j in np.ndindex(*y.shape[2:]):
        seen = padded[:, :, i * sh : i * sh + kh, j * sw : j * sw + kw]
        if name == "max_pool2d":
            expected = seen.max(axis=(2, 3))
        else:
            # Padding counts as zeros; what lies beyond it does not count.
            expected = np.nan_to_num(seen).mean(axis=(2, 3))
        assert np.allclose(y[:, :, i, j], expected, rtol=1e-12)
    gradient_check(lambda a: operation(a, **keywords), x)
