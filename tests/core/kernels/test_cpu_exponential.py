"""exp and its family against NumPy in float64, over all float32 numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

pytest.importorskip("core.kernels.cpu", reason="the CPU backend needs Numba")

from core.kernels.cpu import exponential

SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-39, -1e-39], np.float32)
EXACT: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    "exp": (np.exp, -np.inf, np.inf),
    "exp_negative": (np.exp, -87, 0),
    "expm1": (np.expm1, -np.inf, 87),
    "tanh": (np.tanh, -np.inf, np.inf),
    "sigmoid": (lambda x: np.exp(-np.logaddexp(0, -x)), -np.inf, np.inf),
    "softplus": (lambda x: np.logaddexp(x, 0), -np.inf, np.inf),
    "log": (np.log, 1, 2.0**125),
}


def everywhere(low: float, high: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    middle = rng.uniform(-110, 110, 200_000).astype(np.float32)
    near = rng.uniform(-3, 3, 200_000).astype(np.float32)
    x = np.concatenate([bits, middle, near, SPECIAL])
    return x[~(x < low) & ~(x > high)]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_within_three_units_in_the_last_place(name: str) -> None:
    function = getattr(exponential, name)

    @njit
    def apply(x, y):  # type: ignore[no-untyped-def]
        for i in range(len(x)):
            y[i] = function(x[i])

    exact, low, high = EXACT[name]
    x = everywhere(low, high)
    y = np.empty_like(x)
    apply(x, y)
    wanted = exact(x.astype(np.float64))
    rounded = wanted.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(y[~finite], rounded[~finite])
    unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    assert (np.abs(y[finite] - wanted[finite]) / unit).max() < 3
