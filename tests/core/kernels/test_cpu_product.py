"""Products over threads: values of the reference, the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core.kernels import reference

cpu = pytest.importorskip("core.kernels.cpu", reason="Numba is not installed")
product = pytest.importorskip("core.kernels.cpu.product")


@pytest.mark.parametrize(
    "shape", [(3, 4, 5), (700, 300, 90), (40, 2000, 900), (1, 5000, 3000), (300, 700, 500)]
)
def test_values_and_bits(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner)).astype(np.float32)
    b = rng.standard_normal((columns, inner)).astype(np.float32).T
    before = core.get_num_threads()
    results, sums = [], []
    try:
        for threads in (1, 2, 3):
            core.set_num_threads(threads)
            results.append(cpu.matmul(a, b))
            # The same values from memory in another order are another kernel's work.
            sums.append(cpu.matmul(np.asfortranarray(a), np.ascontiguousarray(b)))
    finally:
        core.set_num_threads(before)
    exact = a.astype(np.float64) @ b
    assert np.linalg.norm(sums[0] - exact) < 1e-5 * np.linalg.norm(exact)
    for other in sums[1:]:
        np.testing.assert_array_equal(other, sums[0])
    assert np.linalg.norm(results[0] - exact) < 1e-5 * np.linalg.norm(exact)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("shape", [(1280, 100, 500), (300, 3000, 333), (129, 257, 1300)])
def test_large_products_are_computed_on_tiles(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "_multiply", None)  # what would call the BLAS
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s, np.float32) for s in ((rows, inner), (inner, columns)))
    exact = a.astype(np.float64) @ b
    a.flags.writeable = False
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b))[: 1 + left.flags.c_contiguous]:
            got = cpu.matmul(left, right)
            assert np.linalg.norm(got - exact) < 1e-5 * np.linalg.norm(exact)


def test_batches_of_matrices_are_the_references() -> None:
    a = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        cpu.matmul(a, a.swapaxes(1, 2)), reference.matmul(a, a.swapaxes(1, 2))
    )


@pytest.mark.parametrize("shape", [(3, 4, 5), (700, 300, 90), (40, 900, 2000)])
@pytest.mark.parametrize("bias", [False, True])
def test_affine_is_the_references(shape: tuple[int, int, int], bias: bool) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    x, w, b = (
        rng.standard_normal(s, np.float32) for s in ((rows, inner), (columns, inner), columns)
    )
    got, wanted = (k.affine(x, w, b if bias else None) for k in (cpu, reference))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4)


def test_rows_are_added_where_their_index_says() -> None:
    rng = np.random.default_rng(0)
    rows, index = rng.standard_normal((50, 7), np.float32), rng.integers(0, 9, 50)
    for given in (rows, np.asfortranarray(rows), rows[:0]):
        got, wanted = (k.add_rows(given, index[: len(given)], 11) for k in (cpu, reference))
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-6)
