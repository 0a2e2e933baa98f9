"""Sources in CUDA C++ and how they are launched: compiled at the first launch, for each dtype.

Arguments are arrays, ints (32 bits in the kernel), floats (`float`), NumPy scalars (as they are:
`np.float64` for a `double`), None (a null pointer) and structs (`struct`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from core.device import Array, array_module, is_array

# Of the type T in a source.
C_NAMES = {
    "float16": "__half",
    "bfloat16": "__nv_bfloat16",
    "float32": "float",
    "float64": "double",
}
THREADS = 256
_BLOCKS = 132 * 16  # as many as keep a large GPU busy; each walks over the rest
_LARGEST = 2**31 - 1


class Source:
    """The kernels of one .cu file beside this module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def launch(
        self, kernel: str, like: Array, grid: int | tuple[int, ...], block: int, *args: Any
    ) -> None:
        """Run `kernel`, compiled for the dtype of `like`, on a grid of blocks of `block` threads.

        Raises ValueError for an int that does not fit into 32 bits.
        """
        module = array_module(like)
        function = _function(module, self.name, str(like.dtype), kernel)
        function(grid if isinstance(grid, tuple) else (grid,), (block,), _arguments(kernel, args))

    def each(self, kernel: str, like: Array, count: int, *args: Any) -> None:
        """Run `kernel` over `count` elements, which is its first argument."""
        if count:
            blocks = min(-(-count // THREADS), _BLOCKS)
            self.launch(kernel, like, blocks, THREADS, count, *args)


def struct(values: Sequence[Any], dtype: Any) -> np.ndarray:
    """A C struct passed by value: one field, an array of `values`."""
    packed = np.zeros(1, [("values", dtype, (len(values),))])
    packed["values"][0] = values
    return packed


def aligned(*values: Any) -> bool:
    """Whether the arrays among `values` begin where 16 bytes can be read at once."""
    arrays = (value for value in values if is_array(value) and not isinstance(value, np.ndarray))
    return all(array.data.ptr % 16 == 0 for array in arrays)


@cache
def text(name: str) -> str:
    """The source called `name`, after what all begin with."""
    here = resources.files(__package__)
    return here.joinpath("common.cuh").read_text() + here.joinpath(name).read_text()


@cache
def _function(module: Any, name: str, dtype: str, kernel: str) -> Any:
    return _compiled(module, name, dtype).get_function(kernel)


@cache
def _compiled(module: Any, name: str, dtype: str) -> Any:
    return module.RawModule(code=text(name), options=("--std=c++17", f"-DVALUE={C_NAMES[dtype]}"))


def _arguments(kernel: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_argument(kernel, a) for a in args)


def _argument(kernel: str, value: Any) -> Any:
    if value is None:
        return np.uint64(0)
    if isinstance(value, np.generic):  # float64 is a float as well
        return value
    if isinstance(value, int):
        if not -_LARGEST <= value <= _LARGEST:
            raise ValueError(f"{kernel}: {value} values are too many for one kernel on the GPU")
        return np.int32(value)
    return np.float32(value) if isinstance(value, float) else value
