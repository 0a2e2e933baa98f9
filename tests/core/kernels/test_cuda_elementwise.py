"""The CUDA backend's activations and dropout, on the strict device, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import replay
from core.kernels import reference
from core.kernels.cuda import elementwise as cuda
from tests.core import fake_device
from tests.core.bench import channels_last, contiguous, strided

pytestmark = fake_device.needs_kernels

TOLERANCE = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)

# Function, arrays, numbers.
FUNCTIONS = [
    ("relu", 1, ()),
    ("relu_backward", 2, ()),
    ("leaky_relu", 1, (0.2,)),
    ("leaky_relu", 1, (1.5,)),
    ("leaky_relu_backward", 2, (0.2,)),
    ("elu", 1, (0.7,)),
    ("elu_backward", 2, (0.7,)),
    ("sigmoid", 1, ()),
    ("sigmoid_backward", 2, ()),
    ("tanh", 1, ()),
    ("tanh_backward", 2, ()),
    ("softplus", 1, ()),
    ("huber", 1, (0.9,)),
    ("huber_slope", 1, (0.9,)),
    ("binary_cross_entropy", 2, (1.0,)),
    ("binary_cross_entropy", 3, ()),
    ("binary_cross_entropy_slope", 2, (2.5,)),
    ("binary_cross_entropy_slope", 3, ()),
]
every_function = pytest.mark.parametrize(
    ("name", "count", "numbers"), FUNCTIONS, ids=[f"{n}-{c}" for n, c, _ in FUNCTIONS]
)


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def drawn(count: int, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(len(shape) + count)
    return [np.array(2 * rng.standard_normal(shape)).astype(dtype) for _ in range(count)]


def call(name: str, arrays: list[np.ndarray], numbers: tuple[float, ...]) -> np.ndarray:
    """The result of the kernels; operands stay as they are."""
    given = [fake_device.placed(a) for a in arrays]
    before = [a.copy() for a in arrays]
    y = fake_device.to_host(getattr(cuda, name)(*given, *numbers))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, before, strict=True))
    return y


def expected(name: str, arrays: list[np.ndarray], numbers: tuple[float, ...]) -> np.ndarray:
    wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays]
    with np.errstate(all="ignore"):
        return getattr(reference, name)(*wide, *numbers)


@DTYPES
@every_function
def test_agrees_with_the_reference(
    name: str, count: int, numbers: tuple[float, ...], dtype: str
) -> None:
    for shape in ((), (0, 3), (7,), (16,), (2, 3, 5, 4), (1, 8, 33)):
        arrays = drawn(count, shape, dtype)
        y = call(name, arrays, numbers)
        assert (y.shape, y.dtype) == (shape, arrays[0].dtype)
        close = TOLERANCE[dtype]
        np.testing.assert_allclose(y, expected(name, arrays, numbers), rtol=close, atol=close)


@every_function
def test_operands_of_any_layout(name: str, count: int, numbers: tuple[float, ...]) -> None:
    arrays = drawn(count, (2, 3, 5, 4), "float32")
    wanted = expected(name, arrays, numbers)
    for first in (contiguous, channels_last, strided):
        for last in (contiguous, channels_last, strided):
            given = [*map(first, arrays[:-1]), last(arrays[-1])]
            np.testing.assert_allclose(call(name, given, numbers), wanted, rtol=1e-6, atol=1e-6)


@every_function
def test_memory_that_does_not_begin_at_a_pack(
    name: str, count: int, numbers: tuple[float, ...]
) -> None:
    arrays = [a[1:] for a in drawn(count, (38,), "float32")]
    wanted = expected(name, arrays, numbers)
    np.testing.assert_allclose(call(name, arrays, numbers), wanted, rtol=1e-6, atol=1e-6)


@DTYPES
@every_function
def test_what_is_not_finite(name: str, count: int, numbers: tuple[float, ...], dtype: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 200.0, -200.0, 0.0, 1.5, -0.3], dtype)
    arrays = [values, *(np.full(8, 0.5, dtype) for _ in range(count - 1))]
    for given in (arrays, arrays[::-1]) if count == 2 else (arrays,):
        y, wanted = call(name, given, numbers), expected(name, given, numbers)
        np.testing.assert_allclose(y, wanted.astype(dtype), rtol=TOLERANCE[dtype], atol=1e-6)


@pytest.mark.parametrize("arrange", [contiguous, channels_last, strided])
def test_relu_in_place(arrange: Any) -> None:
    x = arrange(drawn(1, (2, 3, 5, 7), "float32")[0])
    wanted = np.maximum(x, 0)
    near = fake_device.placed(x)
    cuda.relu_(near)
    assert np.array_equal(fake_device.to_host(near), wanted)


def test_another_shape_or_dtype_is_the_references() -> None:
    gy, y = drawn(2, (4, 3), "float32")
    near = fake_device.from_host(gy), fake_device.from_host(y[:1])
    assert np.allclose(fake_device.to_host(cuda.relu_backward(*near)), gy * (y[:1] > 0))
    near = fake_device.from_host(gy), fake_device.from_host(y.astype(np.float64))
    assert fake_device.to_host(cuda.tanh_backward(*near)).dtype == np.float32


@pytest.mark.parametrize("shape", [(3,), (3, 1), (2, 3, 1, 4)])
def test_weights_of_positives_broadcast(shape: tuple[int, ...]) -> None:
    x, t = drawn(2, (2, 3, 3, 4) if len(shape) == 4 else (5, 3, 3), "float32")
    weights = np.random.default_rng(0).uniform(0.5, 2, shape).astype(np.float32)
    for name in ("binary_cross_entropy", "binary_cross_entropy_slope"):
        wanted = expected(name, [x, t, weights], ())
        np.testing.assert_allclose(call(name, [x, t, weights], ()), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("like", [contiguous, channels_last])
@pytest.mark.parametrize("shape", [(), (0, 4), (33,), (2, 5, 7), (3, 16, 4, 5), (1, 1, 9, 3)])
@pytest.mark.parametrize("first", [0, 2**32 - 20, 5 * 2**32 + 3])
def test_dropout_has_the_bits_of_the_reference(
    like: Any, shape: tuple[int, ...], first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = like(np.zeros(shape, np.float32))
    near = fake_device.from_host(x)
    for p in (0.0, 0.3, 1.0):
        wanted = reference.dropout_mask(shape, p, 0xDEADBEEF, first, x)
        mask = cuda.dropout_mask(shape, p, 0xDEADBEEF, first, near)
        assert np.array_equal(fake_device.to_host(mask), wanted)
    later = fake_device.from_host(np.array([first // 2], np.float64))
    monkeypatch.setattr(replay, "numbers", lambda numbers: later)
    mask = cuda.dropout_mask(shape, 1.0 / 3, 7, first - first // 2, near)
    wanted = reference.dropout_mask(shape, 1.0 / 3, 7, first, x)
    assert np.array_equal(fake_device.to_host(mask), wanted)


@DTYPES
@pytest.mark.parametrize("arrange", [contiguous, channels_last, strided])
def test_dropout(dtype: str, arrange: Any) -> None:
    x = arrange(drawn(1, (2, 3, 5, 7), dtype)[0])
    mask = np.random.default_rng(0).random(x.shape) < 0.6
    y = cuda.dropout(fake_device.placed(x), fake_device.from_host(mask), 1.25)
    wanted = (x.astype(np.float64) * mask * 1.25).astype(dtype)
    np.testing.assert_allclose(
        fake_device.to_host(y), wanted, rtol=1e-3 if dtype == "float16" else 1e-6
    )
