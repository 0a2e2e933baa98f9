"""Who computes: by operands, by request, by the environment; and what that costs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core import kernels
from core.kernels import reference

numba = pytest.importorskip("numba")

F4, F8 = np.zeros(2, np.float32), np.zeros(2)

CONVOLVE = """
import numpy as np
from core import kernels
from core.kernels.reference.conv import Window
x, w = np.ones((1, 3, 6, 6), "f4"), np.ones((5, 3, 3, 3), "f4")
with kernels.use("cpu"):
    k = kernels.of(x, w)
    y = k.convolve(x, w, None, Window((1, 1), (0, 0), (1, 1)))
assert k is not kernels.reference and (y == 27).all()
"""


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_float32_arrays_of_numpy_alone() -> None:
    with kernels.use("cpu"):
        cpu = kernels.of(F4, F4)
        assert cpu.__name__ == "core.kernels.cpu"
        assert kernels.of(F8) is reference
        assert kernels.of(F4, F8) is reference
        assert kernels.of(F4, np.zeros(2, int)) is reference
        assert cpu.softmax is reference.softmax


def test_the_reference_on_request() -> None:
    with kernels.use("cpu"), kernels.use("reference"):
        assert kernels.of(F4) is reference


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="reference, cpu"), kernels.use("gpu"):
        pass
    code = "import numpy, core.kernels as k; k.of(numpy.zeros(1, 'f4'))"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        python(code, OPENBOOK_KERNELS="fast")
    assert "OPENBOOK_KERNELS is 'fast'" in caught.value.stderr


def test_importing_the_core_does_not_import_numba() -> None:
    python("import sys, core.functional; assert 'numba' not in sys.modules")


def test_without_numba_the_reference_computes() -> None:
    code = """
import sys
sys.modules["numba"] = None
import numpy as np
from core import kernels
assert kernels.of(np.zeros(1, "f4")) is kernels.reference
try:
    kernels.use("cpu").__enter__()
except RuntimeError as error:
    assert "Numba" in str(error)
else:
    raise AssertionError("no error")
"""
    python(code, OPENBOOK_KERNELS="cpu")


def test_compiled_once_and_said_once(tmp_path: Path) -> None:
    first = python(CONVOLVE, NUMBA_CACHE_DIR=str(tmp_path))
    assert first.stderr.count("\n") == 1
    assert "compiling kernels, once" in first.stderr
    second = python(CONVOLVE, NUMBA_CACHE_DIR=str(tmp_path))
    assert second.stderr == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
@pytest.mark.parametrize(("name", "lanes"), [("haswell", 8), ("nehalem", 4)])
def test_lanes_follow_the_processor(name: str, lanes: int, tmp_path: Path) -> None:
    code = CONVOLVE + f"from core.kernels.cpu.vector import LANES; assert LANES == {lanes}, LANES"
    python(code, NUMBA_CPU_NAME=name, NUMBA_CACHE_DIR=str(tmp_path))
