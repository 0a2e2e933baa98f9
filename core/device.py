"""The one place for device, default dtype and random state.

An array is a NumPy array on the CPU or a CuPy array on the GPU; the code that computes with
it asks `array_module` for the module that knows it and never names either.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

# NumPy's or CuPy's ndarray: one static type cannot name both while CuPy is optional.
Array = Any
DTypeLike = Any

float16 = np.dtype(np.float16)
float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
int64 = np.dtype(np.int64)


def bfloat16() -> np.dtype[Any]:
    """The dtype of that name; RuntimeError without ml_dtypes, which NumPy and CuPy need for it."""
    try:
        import ml_dtypes
    except ImportError:
        raise RuntimeError("bfloat16 needs ml_dtypes, which is not installed") from None
    return np.dtype(ml_dtypes.bfloat16)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether values of `dtype` can have gradients."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


_modules: dict[type, Any] = {np.ndarray: np}


def register_array_type(kind: type, module: Any) -> None:
    """Let arrays of type `kind` be computed with `module` (an alike of NumPy)."""
    _modules[kind] = module


def is_array(value: object) -> bool:
    """Whether `value` is an array of a known device."""
    return type(value) in _modules or _register_cupy(type(value)) or isinstance(value, np.ndarray)


def _register_cupy(kind: type) -> bool:
    if kind.__module__.partition(".")[0] != "cupy" or kind.__name__ != "ndarray":
        return False
    import cupy

    register_array_type(cupy.ndarray, cupy)
    return True


def array_module(*arrays: Any) -> Any:
    """The module (NumPy, CuPy) of the first array among `arrays`; NumPy when there is none.

    Raises TypeError when the arrays live on different devices.
    """
    module = None
    for array in arrays:
        found = _modules.get(type(array))
        if found is None and is_array(array):
            found = _modules.get(type(array), np)
        if found is None or found is module:
            continue
        if module is not None:
            raise TypeError(
                f"arrays of two devices meet: {module.__name__} and {found.__name__}; "
                "move one with .to(device) first"
            )
        module = found
    return np if module is None else module


def device_of(array: Array) -> str:
    """The name of the device that holds `array`: "cpu" or "cuda"."""
    module = array_module(array)
    return {"numpy": "cpu", "cupy": "cuda"}.get(module.__name__, module.__name__)


def to_device(array: Array, device: str) -> Array:
    """`array` on `device` ("cpu" or "cuda"); the same object when it is there already.

    Raises ValueError for an unknown device, RuntimeError when CuPy or a GPU is missing.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device {device!r} is unknown; expected 'cpu' or 'cuda'")
    if device_of(array) == device:
        return array
    if device == "cpu":
        return to_host(array)
    from core.replay import need_no_recording

    need_no_recording()
    return in_order(array, cuda_module().asarray)


def to_host(array: Array) -> np.ndarray:
    """A NumPy array with the values of `array`, its axes in the same order in memory."""
    if isinstance(array, np.ndarray):
        return array
    return in_order(array, lambda dense: np.asarray(dense.get()))


def in_order(array: Array, convert: Callable[[Array], Array]) -> Array:
    """`convert` applied to the values in the order of memory; the axes lie as they lay before."""
    if array.flags.c_contiguous or array.ndim < 2:
        return convert(array)
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    back = [order.index(axis) for axis in range(array.ndim)]
    return convert(array.transpose(order)).transpose(back)


def cuda_module() -> Any:
    """CuPy; RuntimeError in one line when it, or a GPU, is missing."""
    try:
        import cupy
    except ImportError:
        raise RuntimeError(
            "device 'cuda' needs CuPy, which is not installed: "
            "pip install 'openbook[cuda13]', or cuda12"
        ) from None
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device 'cuda' needs a GPU: {error}") from None
    from core.kernels.cuda import memory

    memory.prepare(cupy)
    return cupy


# ---------------------------------------------------------------------------- dtypes


class _Defaults:
    dtype: np.dtype[Any] = float32


_defaults = _Defaults()


def get_default_dtype() -> np.dtype:
    """The dtype of tensors made from Python floats, and of new parameters (float32)."""
    return _defaults.dtype


@contextmanager
def default_dtype(dtype: DTypeLike) -> Iterator[None]:
    """Make `dtype` (a float dtype) the default inside the block."""
    wanted = np.dtype(dtype)
    if wanted.kind != "f":
        raise ValueError(f"default_dtype: got {wanted}, expected a float dtype")
    before, _defaults.dtype = _defaults.dtype, wanted
    try:
        yield
    finally:
        _defaults.dtype = before


_KINDS = "biuf"  # bool < integers < floats


def _category(dtype: np.dtype[Any]) -> int:
    if is_float(dtype):
        return _KINDS.index("f")
    return 1 if dtype.kind == "u" else _KINDS.index(dtype.kind)


def result_type(*operands: Any) -> np.dtype:
    """The dtype of an element-wise result, promoted as PyTorch promotes.

    Arrays with axes decide before 0-d arrays, and those before Python numbers: a later group
    counts only where its category (bool, integer, float) is higher, so a Python number never
    widens an array. An integer and a float give the float's dtype.
    """
    groups: tuple[list[np.dtype], ...] = ([], [], [])
    for operand in operands:
        if isinstance(operand, bool | int | float):
            groups[2].append(_python_dtype(operand))
        else:
            groups[0 if operand.ndim else 1].append(np.dtype(operand.dtype))
    result: np.dtype | None = None
    for group in groups:
        if not group:
            continue
        promoted = _promote(group)
        if result is None or _category(promoted) > _category(result):
            result = promoted
    if result is None:
        raise TypeError("result_type: no operands")
    return result


def _python_dtype(value: bool | int | float) -> np.dtype:
    if isinstance(value, bool):
        return np.dtype(bool)
    return int64 if isinstance(value, int) else get_default_dtype()


def _promote(dtypes: list[np.dtype]) -> np.dtype:
    highest = max(_category(d) for d in dtypes)
    same = [d for d in dtypes if _category(d) == highest]
    result = same[0]
    for dtype in same[1:]:
        result = np.promote_types(result, dtype)
    return result


# ---------------------------------------------------------------------------- precision


class _Precision:
    float32_matmul = "highest"


_precision = _Precision()


def set_float32_matmul_precision(precision: str) -> None:
    """How products and convolutions of float32 are computed on a GPU.

    "highest" is float32; "high" lets tensor cores round the factors to TF32, whose mantissa has
    10 bits (same name as in PyTorch, where it leaves convolutions alone). Raises ValueError for
    another name.
    """
    if precision not in ("highest", "high"):
        raise ValueError(
            f"set_float32_matmul_precision: got {precision!r}, expected 'highest' or 'high'"
        )
    _precision.float32_matmul = precision


def float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` chose; "highest" at first."""
    return _precision.float32_matmul


# ---------------------------------------------------------------------------- random state


class RandomState:
    """One seed, two streams: a host generator, and a counter for kernels that draw by index.

    Initialisation and shuffling draw from `host`. Dropout hashes (key, counter + index) in
    its kernel; `take(n)` hands out the next n indices of that counter.
    """

    def __init__(self, seed: int) -> None:
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Restart both streams."""
        if not isinstance(seed, int) or not 0 <= seed < 2**128:
            raise ValueError(f"seed: got {seed!r}, expected a non-negative int below 2**128")
        self.host = np.random.default_rng(seed)
        self.key = zlib.crc32(seed.to_bytes(16, "little", signed=False))
        self.counter = 0

    def take(self, count: int) -> tuple[int, int]:
        """(key, first index) of the next `count` indices of the counter stream."""
        first = self.counter
        self.counter += count
        return self.key, first

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later draw depends on, as plain JSON values."""
        return {"host": self.host.bit_generator.state, "key": self.key, "counter": self.counter}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was taken."""
        self.host.bit_generator.state = state["host"]
        self.key = int(state["key"])
        self.counter = int(state["counter"])


random = RandomState(0)


def seed(value: int) -> None:
    """Seed everything that the core draws: initialisers, `core.random`, dropout."""
    random.seed(value)
