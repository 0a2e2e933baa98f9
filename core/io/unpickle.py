"""A reader of pickles that can make dictionaries, numbers, text and tensors, and nothing else.

A pickle is a program for a small stack machine; Python's own runs whatever function it names. This
one knows the instructions that PyTorch writes, calls the five functions below, none of which does
more than describe a tensor, and refuses every other name.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Any

import numpy as np

# torch's names of storages; bfloat16, which NumPy does not have, is read as its 16 bits.
STORAGES: Mapping[str, str] = MappingProxyType(
    {
        "DoubleStorage": "float64",
        "FloatStorage": "float32",
        "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16",
        "LongStorage": "int64",
        "IntStorage": "int32",
        "ShortStorage": "int16",
        "CharStorage": "int8",
        "ByteStorage": "uint8",
        "BoolStorage": "bool",
    }
)
_MAX_DIMENSIONS = 64  # NumPy's


@dataclass(frozen=True)
class StorageType:
    """What the values of a storage are."""

    dtype: str

    @property
    def itemsize(self) -> int:
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StorageView:
    """`size` values of the storage `key`, from the value `offset` on."""

    key: str
    kind: StorageType
    numel: int
    offset: int
    size: int


@dataclass(frozen=True)
class TensorView:
    """A tensor as its file describes it: a window onto a storage; everything counts values."""

    storage: StorageView
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dictionary(dict[Any, Any]):
    """A dictionary that a pickle may give attributes, which are forgotten (`_metadata`)."""


def rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *_ignored: Any
) -> TensorView:
    """The tensor's description. Raises ValueError where it reaches beyond its storage."""
    if not isinstance(storage, StorageView):
        raise ValueError("a tensor without a storage")
    for part in (shape, strides):
        if not isinstance(part, tuple) or not all(_count(n) for n in part):
            raise ValueError("a tensor whose shape or strides are no tuple of counts")
    if not _count(offset) or len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"a tensor with offset, shape and strides that do not fit ({len(shape)})")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # Steps of zero would make much of little: whoever copies such a tensor takes any memory.
    if 0 not in shape and (last >= storage.size or math.prod(shape) > storage.size):
        raise ValueError(
            f"a tensor that reaches beyond its storage: {math.prod(shape)} values, the last at "
            f"{last}, of {storage.size}"
        )
    return TensorView(storage, offset, shape, strides)


def _count(value: Any) -> bool:
    # The limit keeps sums and products of a few of them within 64 bits.
    return type(value) is int and 0 <= value < 2**48


def rebuild_parameter(data: Any, *_ignored: Any) -> TensorView:
    """A parameter is its tensor."""
    if not isinstance(data, TensorView):
        raise ValueError("a parameter without a tensor")
    return data


def rebuild_dictionary(*items: Any) -> _Dictionary:
    """An OrderedDict: empty, or from a list of pairs."""
    result = _Dictionary()
    for pair in items[0] if items else ():
        _set(result, *pair)
    return result


_FUNCTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": rebuild_parameter,
        "torch.nn.parameter.Parameter": rebuild_parameter,
        "collections.OrderedDict": rebuild_dictionary,
        **{f"torch.{name}": StorageType(dtype) for name, dtype in STORAGES.items()},
    }
)

_CONSTANTS = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})
_EMPTY = MappingProxyType({"EMPTY_DICT": _Dictionary, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple})
_NUMBERS = frozenset(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"))
_TEXTS = frozenset(("BINUNICODE", "BINSTRING", "SHORT_BINSTRING"))
_TUPLES = MappingProxyType({"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3})
_OTHERS = ("PROTO", "STOP", "MARK", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL")
_COMPOSING = ("BINPERSID", "TUPLE", "REDUCE", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS")
_KNOWN = {*_NUMBERS, *_TEXTS, *_CONSTANTS, *_EMPTY, *_TUPLES, *_OTHERS, *_COMPOSING}
# By the byte that stands for it; what follows it is read as the standard library says.
_INSTRUCTIONS = MappingProxyType({known.code: known for known in pickletools.opcodes})


def unpickle(stream: BytesIO, storage: Callable[[Any], StorageView] | None = None) -> Any:
    """What the pickle at the stream's position makes; the stream then is behind it.

    `storage` turns what PyTorch stores for a storage (its persistent id) into a view of it. Raises
    ValueError, in one line, for a broken pickle and for whatever is not in this module.
    """
    machine = _Machine(storage)
    try:
        while (instruction := _instruction(stream)).name != "STOP":
            machine.execute(instruction.name, _argument(instruction, stream))
        return machine.pop()
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None
    # What a broken pickle makes of the machine: an empty stack, a missing note, a wrong operand.
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"broken pickle ({type(error).__name__})") from None


def _instruction(stream: BytesIO) -> pickletools.OpcodeInfo:
    """The instruction that comes next."""
    code = stream.read(1)
    if not code:
        raise ValueError("a pickle without an end")
    instruction = _INSTRUCTIONS.get(code.decode("latin-1"))
    if instruction is None or instruction.name not in _KNOWN:
        name = "that does not exist" if instruction is None else instruction.name
        raise ValueError(f"refused: a pickle instruction {name}, which builds no tensor")
    return instruction


def _argument(instruction: pickletools.OpcodeInfo, stream: BytesIO) -> Any:
    """What follows an instruction in the stream; never more than the stream holds."""
    if instruction.name == "GLOBAL":
        # The library's reader would also undo escapes.
        lines = [stream.readline().decode("ascii", "backslashreplace") for _ in range(2)]
        return ".".join(line.removesuffix("\n") for line in lines)
    return None if instruction.arg is None else instruction.arg.reader(stream)


class _Machine:
    """The stack, the marks in it and the notes (memo) of one pickle."""

    def __init__(self, storage: Callable[[Any], StorageView] | None) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._notes: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def execute(self, name: str, argument: Any) -> None:
        """Run one instruction."""
        stack = self._stack
        if name in _NUMBERS or name in _TEXTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            parts = [stack.pop() for _ in range(count)]
            stack.append(tuple(reversed(parts)))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._notes[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._notes[argument])
        elif name == "MARK":
            self._marks.append(stack)
            self._stack = []
        elif name == "GLOBAL":
            stack.append(_function(argument))
        elif name == "BINPERSID":
            stack.append(self._stored(stack.pop()))
        elif name != "PROTO":
            self._compose(name)

    def _compose(self, name: str) -> None:
        """The instructions that put together what is on the stack."""
        if name == "TUPLE":
            self._push(tuple(self._above_mark()))
        elif name == "REDUCE":
            arguments = self.pop()
            self._push(_call(self.pop(), arguments))
        elif name == "APPEND":
            item = self.pop()
            _list(self._stack[-1]).append(item)
        elif name == "APPENDS":
            items = self._above_mark()
            _list(self._stack[-1]).extend(items)
        elif name == "SETITEM":
            value, key = self.pop(), self.pop()
            _set(self._stack[-1], key, value)
        elif name == "SETITEMS":
            items = self._above_mark()
            for key, value in zip(items[::2], items[1::2], strict=True):
                _set(self._stack[-1], key, value)
        elif name == "BUILD":
            self.pop()  # attributes: of a dictionary its `_metadata`, of a parameter its flags
            if not isinstance(self._stack[-1], _Dictionary | TensorView):
                raise ValueError("attributes of something that is neither dictionary nor tensor")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _above_mark(self) -> list[Any]:
        above, self._stack = self._stack, self._marks.pop()
        return above

    def _stored(self, persistent_id: Any) -> StorageView:
        if self._storage is None:
            raise ValueError("a storage where none belongs")
        return self._storage(persistent_id)


def _function(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise ValueError(f"refused: it asks for {shown(name)}; such files may build tensors only")
    return _FUNCTIONS[name]


def shown(text: str) -> str:
    """Text from a file for an error: short, and without what a terminal would obey."""
    return text[:80] if text.isprintable() else ascii(text[:80])


def _call(function: Any, arguments: Any) -> Any:
    if isinstance(function, StorageType) or function not in _FUNCTIONS.values():
        raise ValueError("refused: a call of something that is no function for tensors")
    return function(*arguments)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError("items for something that is no list")
    return value


def _set(dictionary: Any, key: Any, value: Any) -> None:
    # Other keys are hashed at a cost that a few bytes of nested tuples can make endless.
    if not isinstance(dictionary, _Dictionary) or type(key) not in (str, int):
        raise ValueError("an entry of no dictionary, or under a key that is no text or number")
    if key in dictionary:
        raise ValueError(f"the key {shown(str(key))} twice")
    dictionary[key] = value
