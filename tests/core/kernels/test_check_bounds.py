"""The developers' mode in which kernels check every address."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="the CPU backend needs Numba")

PROGRAM = """
import numpy as np
from numba import njit
from core.kernels.cpu.tile import clear, copy, fma, load, load_part, store, zeros

@njit
def whole(x, i):
    store(x, i, 0, load(x, i, 1), 1, 64)

@njit
def part(x, i, count):
    store(x, i, 0, load_part(x, i, 1, count), 1, count)

@njit
def product(x, i, step):
    store(x, 0, 0, fma(zeros(2, 1), x, i, step, load(x, 0, 1)), 1, 64)

@njit
def moved(x, i, count):
    copy(x, 0, x, i, count)

@njit
def cleared(x, i, count):
    clear(x, i, count)

def refused(kernel, *arguments):
    try:
        kernel(np.zeros(64, np.float32), *arguments)
    except IndexError as error:
        return "outside its array" in str(error)
    return False

inside = [(whole, 48), (part, 60, 4), (part, 64, 0), (product, 62, 1), (moved, 32, 32),
          (cleared, 63, 1)]
outside = [(whole, 61), (whole, -1), (part, 61, 4), (part, -1, 1), (product, 63, 1),
           (product, 0, -1), (moved, 33, 32), (cleared, 64, 1)]
print([refused(*case) for case in inside], [refused(*case) for case in outside])
"""


def test_an_address_outside_its_array_raises() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "OPENBOOK_CHECK_BOUNDS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split("\n")[0] == f"{[False] * 6} {[True] * 8}", run.stderr
