"""The CUDA backend's sum of rows, on the strict device, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.kernels import cuda, reference
from tests.core import fake_device
from tests.core.bench import contiguous, strided

pytestmark = fake_device.needs_kernels

TOLERANCE = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-13}


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def add_rows(rows: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
    given = fake_device.placed(rows), fake_device.placed(index)
    return fake_device.to_host(cuda.add_rows(*given, count))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("n", "count", "columns"),
    [(0, 4, 3), (1, 1, 1), (7, 3, 5), (100, 70, 8), (1500, 40, 132), (40, 300, 260), (33, 33, 1)],
)
def test_agrees_with_the_reference(n: int, count: int, columns: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    rows, index = rng.standard_normal((n, columns)).astype(dtype), rng.integers(0, count, n)
    index[rng.random(n) < 0.4] = count // 2
    wanted = reference.add_rows(rows.astype("f8"), index, count)
    found = add_rows(rows, index, count)
    assert (found.shape, found.dtype) == (wanted.shape, rows.dtype)
    close = TOLERANCE[dtype] * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=TOLERANCE[dtype], atol=close)


@pytest.mark.parametrize("arrange", [contiguous, strided])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_indices_of_any_integer(dtype: str, arrange: Any) -> None:
    rng = np.random.default_rng(0)
    rows, index = rng.standard_normal((50, 12)).astype("f4"), rng.integers(0, 9, 50).astype(dtype)
    found = add_rows(arrange(rows), arrange(index), 9)
    np.testing.assert_allclose(found, reference.add_rows(rows, index, 9), rtol=1e-5, atol=1e-6)


def test_memory_that_does_not_begin_at_a_pack() -> None:
    rows = np.arange(41, dtype=np.float32)[1:].reshape(5, 8)
    index = np.array([2, 0, 2, 1, 2])
    assert np.array_equal(add_rows(rows, index, 3), reference.add_rows(rows, index, 3))


def test_indices_outside_the_table_touch_nothing() -> None:
    rows = np.random.default_rng(0).standard_normal((6, 4))
    found = add_rows(rows, np.array([0, -1, 5, 3, -7, 2**40]), 5)
    assert np.array_equal(found, [rows[0], 0 * rows[0], 0 * rows[0], rows[3], rows[1]])


def test_not_a_number_stays_in_its_row() -> None:
    rows = np.ones((20, 4), np.float32)
    rows[3] = np.nan
    found = add_rows(rows, np.arange(20) % 10, 10)
    assert np.isnan(found[3]).all()
    assert (np.delete(found, 3, 0) == 2).all()
