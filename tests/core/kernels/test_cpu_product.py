"""Products over threads: values of the reference, the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core.kernels import reference

cpu = pytest.importorskip("core.kernels.cpu", reason="Numba is not installed")


@pytest.mark.parametrize("shape", [(3, 4, 5), (700, 300, 90), (40, 2000, 900), (1, 5000, 3000)])
def test_values_and_bits(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, inner)).astype(np.float32)
    b = rng.standard_normal((columns, inner)).astype(np.float32).T
    before = core.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            core.set_num_threads(threads)
            results.append(cpu.matmul(a, b))
    finally:
        core.set_num_threads(before)
    exact = a.astype(np.float64) @ b
    assert np.linalg.norm(results[0] - exact) < 1e-5 * np.linalg.norm(exact)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_batches_of_matrices_are_the_references() -> None:
    a = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        cpu.matmul(a, a.swapaxes(1, 2)), reference.matmul(a, a.swapaxes(1, 2))
    )
