"""A float32 vector type for Numba, and what `tile` builds its instructions from.

A value of the type lives in one register (or a few, where the processor's are narrower). The
functions here emit LLVM's own instructions; kernels never call them.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, config, types
from numba.core.datamodel import models
from numba.core.registry import cpu_target
from numba.extending import register_model

# For developers: instructions then raise IndexError where they would leave their array, and
# kernels are several times slower. Off, it leaves no trace in the code.
CHECKED = os.environ.get("OPENBOOK_CHECK_BOUNDS", "") not in ("", "0")

# Part of every kernel's cache key: Numba's cache does not see edits of imported modules. These
# are the modules whose code ends up in kernels of others.
CHECKSUM = zlib.crc32(
    b"".join(
        Path(__file__).with_name(n).read_bytes()
        for n in (
            "vector.py",
            "tile.py",
            "pool_tile.py",
            "winograd_tile.py",
            "direct.py",
            "exponential.py",
            "gates.py",
        )
    ),
    int(CHECKED),
)

# Sums may be reordered and products fused; infinities and NaN keep their meaning.
FASTMATH = {"contract", "reassoc", "nsz", "arcp"}

_PROBE = """
define void @probe(ptr %p) {
  %v = load <16 x float>, ptr %p, align 4
  %s = fadd <16 x float> %v, %v
  store <16 x float> %s, ptr %p, align 4
  ret void
}
"""


def _lanes() -> int:
    """float32 values in the widest register that the code generator uses for this processor."""
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    settings = vars(config)
    if settings["CPU_NAME"] is not None:
        features = settings["CPU_FEATURES"] or ""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    return 16 if "zmm" in assembly else 8 if "ymm" in assembly else 4


LANES = _lanes()
# Registers of that width: how large a tile may be before accumulators spill.
REGISTERS = 16 if LANES == 8 else 32

_FLOAT = ir.FloatType()
I32 = ir.IntType(32)
VECTOR = ir.VectorType(_FLOAT, LANES)
ZERO = ir.Constant(VECTOR, [0.0] * LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)


class Vector(types.Type):
    """The Numba type of a vector."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """A vector is LLVM's own vector type, in arguments and on the stack too."""

    def __init__(self, manager: Any, numba_type: types.Type) -> None:
        super().__init__(manager, numba_type, VECTOR)


vector = Vector()


# ---------------------------------------------------------------------------- code generation


class Place(NamedTuple):
    """Where in an array an instruction works; `at` is the only way from there to memory."""

    address: Any
    index: Any
    size: Any
    context: Any

    def at(self, builder: Any, offset: Any, count: Any) -> Any:
        """The address `offset` values further on, where `count` values are read or written."""
        if CHECKED:
            self._check(builder, offset, count)
        return builder.gep(self.address, [offset])

    def _check(self, builder: Any, offset: Any, count: Any) -> None:
        first = builder.add(self.index, offset)
        none = ir.Constant(first.type, 0)
        outside = builder.or_(
            builder.icmp_signed("<", first, none),
            builder.icmp_signed(">", builder.add(first, count), self.size),
        )
        touched = builder.icmp_signed(">", count, none)
        with builder.if_then(builder.and_(touched, outside), likely=False):
            message = ("a kernel reads or writes outside its array",)
            self.context.call_conv.return_user_exc(builder, IndexError, message)


def place_in(context: Any, builder: Any, kind: types.Array, array: Any, offset: Any) -> Place:
    """array[offset:] of an array of the type `kind`."""
    struct = context.make_array(kind)(context, builder, array)
    return Place(builder.gep(struct.data, [offset]), offset, struct.nitems, context)


def _address(builder: Any, start: Place, offset: Any, mask: Any = None) -> Any:
    """Of a vector, whole or as far as the lanes of `mask` go."""
    count = ir.Constant(offset.type, LANES)
    if CHECKED and mask is not None:
        bits = builder.bitcast(mask, ir.IntType(LANES))
        count = builder.zext(builder.ctpop(bits), offset.type)
    return builder.bitcast(start.at(builder, offset, count), VECTOR.as_pointer())


def splat(builder: Any, scalar: Any, kind: ir.VectorType = VECTOR) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    order = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, order)


def fmuladd(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, fused where the processor can (`llvm.fma` would call a library elsewhere)."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


def _mask(builder: Any, count: Any) -> Any:
    """Lanes below `count` (any number) are set."""
    wide = ir.VectorType(count.type, LANES)
    lanes = ir.Constant(wide, list(range(LANES)))
    return builder.icmp_signed("<", lanes, splat(builder, count, wide))


def masks_below(builder: Any, count: Any, columns: int) -> list[Any]:
    """The masks of the vectors of a row of which only the first `count` values exist."""
    number = count.type
    return [
        _mask(builder, builder.sub(count, ir.Constant(number, LANES * v))) for v in range(columns)
    ]


def load_row(
    builder: Any, start: Place, place: Any, columns: int, masks: list[Any] | None = None
) -> list[Any]:
    values = []
    for v in range(columns):
        mask = None if masks is None else masks[v]
        address = _address(builder, start, _plus(builder, place, LANES * v), mask)
        if mask is None:
            values.append(builder.load(address))
            values[-1].align = 4
        else:
            kind = ir.FunctionType(VECTOR, [address.type, I32, _MASK, VECTOR])
            name = f"llvm.masked.load.v{LANES}f32.p0"
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            values.append(builder.call(function, [address, ir.Constant(I32, 4), mask, ZERO]))
    return values


def store_row(
    builder: Any, start: Place, place: Any, row: list[Any], masks: list[Any] | None
) -> None:
    for v, value in enumerate(row):
        mask = None if masks is None else masks[v]
        address = _address(builder, start, _plus(builder, place, LANES * v), mask)
        if mask is None:
            builder.store(value, address).align = 4
        else:
            kind = ir.FunctionType(ir.VoidType(), [VECTOR, address.type, I32, _MASK])
            name = f"llvm.masked.store.v{LANES}f32.p0"
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(function, [value, address, ir.Constant(I32, 4), mask])


def whole_or_part(builder: Any, count: Any, columns: int, write: Callable[..., None]) -> None:
    """write(None) where a row has all its values, write(masks) where only `count` exist."""
    whole = builder.icmp_signed(">=", count, ir.Constant(count.type, columns * LANES))
    with builder.if_else(whole, likely=True) as (then, otherwise):
        with then:
            write(None)
        with otherwise:
            write(masks_below(builder, count, columns))


def times(builder: Any, value: Any, factor: int) -> Any:
    return builder.mul(value, ir.Constant(value.type, factor))


def _plus(builder: Any, value: Any, summand: int) -> Any:
    return builder.add(value, ir.Constant(value.type, summand))


def rows_of(builder: Any, tile: Any, columns: int) -> list[list[Any]]:
    values = cgutils.unpack_tuple(builder, tile)
    return [values[i : i + columns] for i in range(0, len(values), columns)]


def tile_of(context: Any, builder: Any, signature: Any, values: list[Any]) -> Any:
    return context.make_tuple(builder, signature.return_type, values)


def row_type(*sizes: Any) -> types.UniTuple | None:
    """The type of a tile of so many vectors; None (no such function) where one is no constant."""
    if not all(isinstance(size, types.IntegerLiteral) for size in sizes):
        return None
    return types.UniTuple(vector, math.prod(size.literal_value for size in sizes))
