"""A strict device without a GPU: arrays that refuse every implicit way to and from the host.

It offers what CuPy 14 offers and nothing else, and behaves as CuPy does where that differs
from NumPy: reductions and indexing give 0-d arrays, results of element-wise functions are
laid out in C order unless `out=` says otherwise, and no NumPy array is taken by accident.
Kernels in CUDA C++ run through an emulator where there is a C++ compiler.
`from_host`, `placed` and `to_host` are the tests' own way over; `fake.transfers` counts `.get()`.
`as_cuda` lets "cuda" name it, for trainings and commands.

With OPENBOOK_TEST_DEVICE=cuda these three give and take the arrays of a real GPU instead, and
nothing is counted: the same tests then show what the kernels compute there.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core import device as dev
from core.device import register_array_type
from tests.core import cuda_emulator

ON_GPU = os.environ.get("OPENBOOK_TEST_DEVICE") == "cuda"

# For tests of kernels in CUDA C++.
needs_kernels = [
    pytest.mark.device,
    pytest.mark.skipif(not ON_GPU and not cuda_emulator.available(), reason="needs a C++ compiler"),
]
# For tests of the strict device itself.
needs_strict = pytest.mark.skipif(ON_GPU, reason="shows how strict the device without a GPU is")

UFUNCS = """
    abs absolute add arctan arctan2 bitwise_and bitwise_or bitwise_xor cbrt ceil copysign cos
    divide equal exp exp2 expm1 floor floor_divide fmax fmin fmod greater greater_equal hypot
    invert isfinite isinf isnan left_shift less less_equal log log10 log1p log2 logaddexp
    logaddexp2 logical_and logical_not logical_or logical_xor maximum minimum mod multiply
    negative not_equal power reciprocal remainder right_shift rint sign signbit sin sinh sqrt
    square subtract tan tanh true_divide trunc cosh
"""

VIEWS = """
    atleast_1d atleast_2d atleast_3d broadcast_arrays broadcast_to expand_dims flip moveaxis
    ravel reshape rollaxis squeeze swapaxes transpose
"""

FUNCTIONS = """
    all amax amin any arange argmax argmin argpartition argsort array_split ascontiguousarray
    asfortranarray average bincount clip concatenate copy copyto count_nonzero cumprod cumsum
    diag diagonal diff digitize dot einsum empty empty_like eye flatnonzero full full_like
    histogram indices inner interp isclose linspace matmul max mean meshgrid min nan_to_num
    nonzero ones ones_like outer pad partition prod put_along_axis repeat roll rot90 round
    searchsorted sort split stack std sum take take_along_axis tensordot tile trace tri tril
    triu unique unravel_index var vdot where zeros zeros_like
"""

CONSTANTS = """
    bool_ e finfo float16 float32 float64 iinfo inf int16 int32 int64 int8 intp nan newaxis pi
    promote_types uint16 uint32 uint64 uint8 dtype
"""

# Functions whose result may be used, but nowhere a NumPy array be passed in.
METHODS_OF_VIEWS = ["transpose", "swapaxes", "squeeze", "reshape", "ravel", "view", "diagonal"]
METHODS = """
    all any argmax argmin argsort astype clip copy cumsum cumprod dot fill flatten max mean
    min nonzero partition prod ptp put repeat round sort std sum take trace var
"""

# What needs the host, or a library of NVIDIA's that CuPy does not call in a step being recorded.
UNRECORDED = """
    bincount digitize dot einsum flatnonzero histogram inner matmul nonzero outer tensordot unique
    vdot
"""

# What `scatter_add` adds to on a GPU.
ADD_AT = {np.dtype(t) for t in ("int32", "uint32", "uint64", "float16", "float32", "float64")}


def _refuse(what: str) -> Callable[..., Any]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"fake device: {what} would copy to the host")

    return refused


def _in_no_recording(what: str) -> None:
    if fake.recording:
        raise RuntimeError(f"fake device: {what} in a step that is recorded")


def _take(value: Any) -> Any:
    """What NumPy computes with, for an argument that the device accepts."""
    if isinstance(value, FakeArray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError(f"fake device: got a NumPy array of shape {value.shape}")
    if isinstance(value, tuple | list):
        return type(value)(_take(v) for v in value)
    return value


def _give(value: Any, c_order: bool = True) -> Any:
    """The device's array for a result of NumPy's; never a scalar."""
    if isinstance(value, tuple | list):
        return type(value)(_give(v, c_order) for v in value)
    if not isinstance(value, np.ndarray | np.generic):
        return value
    array = np.asarray(value)
    if c_order and not array.flags.c_contiguous:
        array = np.array(array, order="C")
    return FakeArray(array)


class FakeArray:
    """An array of the device: a NumPy array that nobody outside may see."""

    __slots__ = ("__weakref__", "_array")
    __array_ufunc__ = None

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    shape = property(lambda self: self._array.shape)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    dtype = property(lambda self: self._array.dtype)
    strides = property(lambda self: self._array.strides)
    itemsize = property(lambda self: self._array.itemsize)
    nbytes = property(lambda self: self._array.nbytes)
    flags = property(lambda self: self._array.flags)
    T = property(lambda self: FakeArray(self._array.T))
    # The address, which kernels are given.
    data = property(lambda self: SimpleNamespace(ptr=self._array.ctypes.data))

    def get(self) -> np.ndarray:
        """A copy on the host, asked for by name."""
        _in_no_recording("get")
        fake.transfers += 1
        return self._array.copy()

    def set(self, array: np.ndarray) -> None:
        """Take the values of an array of the host, of this shape and dtype."""
        _in_no_recording("set")
        assert (array.shape, array.dtype) == (self.shape, self.dtype) and self.flags.c_contiguous
        self._array[...] = array

    def __len__(self) -> int:
        return len(self._array)

    def __repr__(self) -> str:
        return f"FakeArray(shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, index: Any) -> FakeArray:
        plain = _index(index)
        parts = plain if isinstance(plain, tuple) else (plain,)
        if any(isinstance(p, np.ndarray) and p.dtype == bool for p in parts):
            _in_no_recording("a mask as index")
        result = self._array[plain]
        if isinstance(result, np.generic):
            result = self._array[(*parts, ...)]
        return FakeArray(result)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, list | tuple):
            raise TypeError("fake device: a list was written into an array")
        self._array[_index(index)] = _take(value)

    __array__ = _refuse("__array__")
    __array_function__ = _refuse("a NumPy function")
    __bool__ = _refuse("bool()")
    __int__ = _refuse("int()")
    __float__ = _refuse("float()")
    __complex__ = _refuse("complex()")
    __index__ = _refuse("an index")
    __iter__ = _refuse("iteration")
    __contains__ = _refuse("`in`")
    __hash__ = None  # type: ignore[assignment]


def _index(index: Any) -> Any:
    if isinstance(index, list):
        raise TypeError("fake device: indexed with a list")
    if isinstance(index, tuple):
        return tuple(_index(i) for i in index)
    return _take(index)


def _method(name: str, c_order: bool) -> Callable[..., Any]:
    unrecorded = name in UNRECORDED.split()

    def method(self: FakeArray, *args: Any, **kwargs: Any) -> Any:
        if unrecorded:
            _in_no_recording(name)
        taken = {key: _take(v) for key, v in kwargs.items()}
        result = getattr(self._array, name)(*_take(args), **taken)
        if result is self._array:
            return self
        # `copy` and `astype` keep a layout when they are told to.
        return _give(result, c_order and kwargs.get("order", "C") == "C")

    return method


for _name in METHODS.split():
    setattr(FakeArray, _name, _method(_name, c_order=_name != "astype"))
for _name in METHODS_OF_VIEWS:
    setattr(FakeArray, _name, _method(_name, c_order=False))


class FakeUfunc:
    """An element-wise function: C order without `out=`, and no more keywords than CuPy has."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self._ufunc: Any = getattr(np, name)

    def __call__(
        self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind"
    ) -> Any:
        if not any(isinstance(x, FakeArray) for x in args):
            raise TypeError(f"fake device: {self.__name__} got no array of the device")
        if out is None:
            return _give(self._ufunc(*_take(args), dtype=dtype, casting=casting, order="C"))
        if not isinstance(out, FakeArray):
            raise TypeError(f"fake device: {self.__name__} got a NumPy array as out=")
        self._ufunc(*_take(args), out=out._array, dtype=dtype, casting=casting)
        return out

    def at(self, array: FakeArray, index: Any, value: Any) -> None:
        """Unbuffered accumulation; CuPy has it for three functions."""
        if self.__name__ not in ("add", "maximum", "minimum"):
            raise NotImplementedError(f"CuPy has no {self.__name__}.at")
        if array.dtype not in ADD_AT:
            raise TypeError(f"CuPy's {self.__name__}.at takes no {array.dtype}")
        self._ufunc.at(array._array, _index(index), _take(value))


def _operator(name: str, swapped: bool = False) -> Callable[..., Any]:
    def operator(self: FakeArray, other: Any) -> Any:
        return getattr(fake, name)(*((other, self) if swapped else (self, other)))

    return operator


def _in_place(name: str) -> Callable[..., Any]:
    def operator(self: FakeArray, other: Any) -> FakeArray:
        return getattr(fake, name)(self, other, out=self)

    return operator


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "matmul": "matmul",
}
_COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
for _symbol, _name in _OPERATORS.items():
    setattr(FakeArray, f"__{_symbol}__", _operator(_name))
    setattr(FakeArray, f"__r{_symbol}__", _operator(_name, swapped=True))
    setattr(FakeArray, f"__i{_symbol}__", _in_place(_name))
for _symbol, _name in _COMPARISONS.items():
    setattr(FakeArray, f"__{_symbol}__", _operator(_name))
for _symbol, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(FakeArray, f"__{_symbol}__", lambda self, _name=_name: getattr(fake, _name)(self))


def _function(name: str, c_order: bool) -> Callable[..., Any]:
    unrecorded = name in UNRECORDED.split()

    def function(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        # The core's own product gives `out`, and calls another library on a GPU.
        if unrecorded and out is None:
            _in_no_recording(name)
        taken = {key: _take(value) for key, value in kwargs.items()}
        if out is None:
            return _give(
                getattr(np, name)(*_take(args), **taken), c_order and "order" not in kwargs
            )
        if not isinstance(out, FakeArray):
            raise TypeError(f"fake device: {name} got a NumPy array as out=")
        getattr(np, name)(*_take(args), out=out._array, **taken)
        return out

    return function


class FakeModule:
    """The module beside the arrays; whatever CuPy has not is an AttributeError."""

    __name__ = "fake"
    ndarray = FakeArray

    def __init__(self) -> None:
        self.transfers = 0
        self.recording = False
        for name in UFUNCS.split():
            setattr(self, name, FakeUfunc(name))
        for name in FUNCTIONS.split():
            setattr(self, name, _function(name, c_order=True))
        for name in VIEWS.split():
            setattr(self, name, _function(name, c_order=False))
        for name in CONSTANTS.split():
            setattr(self, name, getattr(np, name))
        strides = SimpleNamespace(
            as_strided=_function_of(np.lib.stride_tricks.as_strided),
            sliding_window_view=_function_of(np.lib.stride_tricks.sliding_window_view),
        )
        self.lib = SimpleNamespace(stride_tricks=strides)
        if cuda_emulator.available():
            self.RawModule = cuda_emulator.RawModule

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the strict device has no {name}: does CuPy?")

    def asarray(self, value: Any, dtype: Any = None, order: str | None = None) -> FakeArray:
        """An explicit copy to the device, or the array itself."""
        if isinstance(value, FakeArray) and (dtype is None or value.dtype == dtype):
            return value
        return self.array(value, dtype=dtype, order=order or "K", copy=True)

    def array(
        self, value: Any, dtype: Any = None, copy: bool = True, order: str = "K"
    ) -> FakeArray:
        """An explicit copy to the device."""
        if not isinstance(value, FakeArray):
            _in_no_recording("a copy from the host")
        host = value._array if isinstance(value, FakeArray) else value
        return FakeArray(np.array(host, dtype=dtype, order=order))  # type: ignore[call-overload]


def _function_of(function: Callable[..., Any]) -> Callable[..., Any]:
    def strided(x: FakeArray, *args: Any, **kwargs: Any) -> FakeArray:
        return FakeArray(function(_take(x), *args, **kwargs))

    return strided


fake: Any = FakeModule()


def register() -> None:
    """Make the core know the device (there is no way back, and no need for one)."""
    if ON_GPU:
        dev.cuda_module()
    else:
        register_array_type(FakeArray, fake)


def as_cuda(patch: pytest.MonkeyPatch) -> None:
    """Let "cuda" name this device; with a GPU it is that."""
    register()
    if not ON_GPU:
        patch.setattr(fake, "__name__", "cuda")
        patch.setattr(fake, "cuda", SimpleNamespace(alloc_pinned_memory=bytearray), raising=False)
        patch.setattr(dev, "cuda_module", lambda: fake)
        patch.setattr("core.training.step.graphed", _graphed)


def _graphed(step: Callable[[], Any]) -> Callable[[], Any]:
    """Stands for `core.replay.graphed`: from the second call on the step may not ask the host."""
    calls = 0

    def run() -> Any:
        nonlocal calls
        calls += 1
        fake.recording = calls > 1
        try:
            return step()
        finally:
            fake.recording = False

    return run


def from_host(array: np.ndarray) -> Any:
    """A device array with the values and the layout of `array`."""
    return placed(np.array(array, order="K"))


def placed(array: np.ndarray) -> Any:
    """A device array that lies in memory as `array` does, gaps and backward axes too.

    It shares the memory of `array` on the device without a GPU.
    """
    return _on_gpu(array) if ON_GPU else FakeArray(array)


def to_host(array: Any) -> np.ndarray:
    """The values of a device array; not counted as a transfer."""
    if ON_GPU:
        assert dev.device_of(array) == "cuda", f"a {type(array).__name__} came back from the GPU"
        return dev.to_host(array)
    assert type(array) is FakeArray, f"a {type(array).__name__} came back from the device"
    return array._array


def _on_gpu(array: np.ndarray) -> Any:
    """A copy of the stretch of memory that `array` lies in, as far from a multiple of 64 bytes."""
    cupy = dev.cuda_module()
    if not array.size:
        return cupy.empty(array.shape, array.dtype)
    reach = [stride * (n - 1) for stride, n in zip(array.strides, array.shape, strict=True)]
    before = -sum(r for r in reach if r < 0)
    count = before + sum(r for r in reach if r > 0) + array.itemsize
    start = array.ctypes.data - before
    stretch = bytes(start % 64) + ctypes.string_at(start, count)
    memory = cupy.asarray(np.frombuffer(stretch, np.uint8)).data + start % 64 + before
    return cupy.ndarray(array.shape, array.dtype, memory, array.strides)
