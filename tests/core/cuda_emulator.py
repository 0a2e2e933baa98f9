"""The CUDA sources on the CPU: compiled by a C++ compiler, launched on arrays of the host.

It shows that the kernels compute what they should, not that they are fast. Blocks run one
after the other, so that a race between blocks is not seen; threads of a block take turns at
barriers. Compiled libraries are kept in a folder for the next run.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
_COMPILER = shutil.which("g++")


def available() -> bool:
    """Whether there is a C++ compiler."""
    return _COMPILER is not None


class RawModule:
    """As CuPy's: the functions of one source."""

    def __init__(self, *, code: str, options: Sequence[str] = ()) -> None:
        names = re.findall(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)", code)
        header = (_HERE / "cuda_emulator.h").read_text()
        plain = code.replace('extern "C"', "")
        launchers = "".join(f"LAUNCHER({name})\n" for name in names)
        defines = [o for o in options if o.startswith("-D")]
        self._library = _library(f"#include <cstdio>\n{header}\n{plain}\n{launchers}", (*defines,))
        waiting = _waiting(code)
        self._fibers = {name: name in waiting for name in names}

    def get_function(self, name: str) -> Callable[..., None]:
        """The kernel called `name`; call it with (grid, block, arguments)."""
        launch, fibers = getattr(self._library, f"launch_{name}"), self._fibers[name]

        def run(grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any]) -> None:
            assert len(block) == 1 and 0 < block[0] <= 1024, f"{name}: a block of {block}"
            assert all(0 < g < 65536 or (i == 0 and 0 < g < 2**31) for i, g in enumerate(grid)), (
                grid
            )
            holders = [_holder(a) for a in args]
            pointers = (ctypes.c_void_p * len(args))(*(h.ctypes.data for h in holders))
            sizes = (ctypes.c_uint * 3)(*grid, *(1,) * (3 - len(grid)))
            launch(sizes, ctypes.c_uint(block[0]), int(fibers), pointers)

        return run


def _holder(value: Any) -> np.ndarray:
    """An array whose memory holds the argument as a kernel takes it."""
    if hasattr(value, "_array"):
        return np.array([value._array.ctypes.data], np.uint64)
    if isinstance(value, np.ndarray) and value.dtype.fields and value.shape == (1,):
        return value  # a struct, by value
    assert isinstance(value, np.generic), f"a kernel was given a {type(value).__name__}"
    return np.array([value])


def _waiting(code: str) -> set[str]:
    """The functions whose threads wait for each other, or that call one which does."""
    code = re.sub(r"__launch_bounds__\([^)]*\)", "", code)
    starts = list(re.finditer(r"\b(?:__global__|__device__)[^;{}()=]*?(\w+)\s*\(", code))
    ends = [m.start() for m in starts[1:]] + [len(code)]
    bodies = {m[1]: code[m.end() : end] for m, end in zip(starts, ends, strict=True)}
    found = {name for name, body in bodies.items() if re.search("__sync|__shfl|__ballot", body)}
    while True:
        calls = re.compile(r"\b(" + "|".join(found or {"-"}) + r")\s*[(<]")
        more = {name for name, body in bodies.items() if calls.search(body)} | found
        if more == found:
            return found
        found = more


@cache
def _library(text: str, options: tuple[str, ...]) -> ctypes.CDLL:
    assert _COMPILER is not None
    digest = hashlib.sha256(repr((text, options)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"openbook-emulated-{_user()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{digest}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source, built = Path(scratch) / "kernels.cpp", Path(scratch) / "kernels.so"
            source.write_text(text)
            command = [
                _COMPILER,
                "-std=c++17",
                "-O1",
                "-w",
                "-shared",
                "-fPIC",
                "-ffp-contract=off",
            ]
            done = subprocess.run(
                [*command, *options, str(source), "-o", str(built)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            built.replace(path)
    return ctypes.CDLL(str(path))


def _user() -> int:
    import os

    return os.getuid() if hasattr(os, "getuid") else 0
