"""Instructions of the pooling kernels: the best of a window, and where in it the best was.

This module is part of the kernels' cache key (`vector.CHECKSUM`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from core.kernels.cpu.vector import (
    LANES,
    VECTOR,
    load_row,
    masks_below,
    place_in,
    splat,
    store_row,
    tile_of,
    vector,
)

_BYTE_VECTOR = ir.VectorType(ir.IntType(8), LANES)
_PAIR = types.UniTuple(vector, 2)


def _instruction(function: Callable[..., Any]) -> Any:
    """Let kernels call `function`."""
    return intrinsic(function)


@_instruction
def lowest(typingctx: Any, number: Any) -> Any:
    """(minus infinity, number) in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        low = ir.Constant(VECTOR, [float("-inf")] * LANES)
        return tile_of(context, builder, signature, [low, _as_float(builder, args[0])])

    return _PAIR(number), codegen


@_instruction
def larger(typingctx: Any, best: Any, array: Any, offset: Any, count: Any, number: Any) -> Any:
    """(value, position) of the larger: `best`, or the values at the position `number`, if NaN."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        highest, where = cgutils.unpack_tuple(builder, args[0])
        start = place_in(context, builder, signature.args[1], args[1], args[2])
        masks = masks_below(builder, args[3], 1)
        value = load_row(builder, start, ir.Constant(args[2].type, 0), 1, masks)[0]
        larger = builder.fcmp_ordered(">", value, highest)
        better = builder.or_(larger, builder.fcmp_unordered("uno", value, value))
        number = _as_float(builder, args[4])
        chosen = [builder.select(better, a, b) for a, b in ((value, highest), (number, where))]
        return tile_of(context, builder, signature, chosen)

    return _PAIR(best, array, offset, count, number), codegen


@_instruction
def store_bytes(typingctx: Any, array: Any, offset: Any, numbers: Any, count: Any) -> Any:
    """array[offset:] = the first `count` of a vector of whole numbers below 256."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = place_in(context, builder, signature.args[0], args[0], args[1])
        wide = builder.fptoui(args[2], ir.VectorType(ir.IntType(32), LANES))
        values = builder.trunc(wide, _BYTE_VECTOR)
        most = ir.Constant(args[3].type, LANES)
        whole = builder.icmp_signed(">=", args[3], most)
        count = builder.select(whole, most, args[3])
        first = start.at(builder, ir.Constant(args[1].type, 0), count)
        with builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                place = builder.bitcast(first, _BYTE_VECTOR.as_pointer())
                builder.store(values, place).align = 1
            with otherwise, cgutils.for_range(builder, args[3]) as loop:
                byte = builder.extract_element(values, loop.index)
                builder.store(byte, builder.gep(first, [loop.index]))
        return context.get_dummy_value()

    return types.void(array, offset, numbers, count), codegen


@_instruction
def load_chosen(typingctx: Any, gradients: Any, positions: Any, offset: Any, count: Any) -> Any:
    """(gradients, positions as floats) from offset."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = place_in(context, builder, signature.args[0], args[0], args[2])
        masks = masks_below(builder, args[3], 1)
        value = load_row(builder, start, ir.Constant(args[2].type, 0), 1, masks)[0]
        start = place_in(context, builder, signature.args[1], args[1], args[2])
        bits = builder.bitcast(masks[0], ir.IntType(LANES))
        count = builder.zext(builder.ctpop(bits), args[2].type)
        first = start.at(builder, ir.Constant(args[2].type, 0), count)
        place = builder.bitcast(first, _BYTE_VECTOR.as_pointer())
        kind = ir.FunctionType(
            _BYTE_VECTOR, [place.type, ir.IntType(32), masks[0].type, _BYTE_VECTOR]
        )
        name = f"llvm.masked.load.v{LANES}i8.p0"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        none = ir.Constant(_BYTE_VECTOR, [0] * LANES)
        where = builder.call(function, [place, ir.Constant(ir.IntType(32), 1), masks[0], none])
        return tile_of(context, builder, signature, [value, builder.uitofp(where, VECTOR)])

    return _PAIR(gradients, positions, offset, count), codegen


@_instruction
def add_chosen(typingctx: Any, array: Any, offset: Any, pair: Any, count: Any, number: Any) -> Any:
    """Add to array[offset:] the gradients whose position is `number`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, where = cgutils.unpack_tuple(builder, args[2])
        start = place_in(context, builder, signature.args[0], args[0], args[1])
        here, masks = ir.Constant(args[1].type, 0), masks_below(builder, args[3], 1)
        before = load_row(builder, start, here, 1, masks)[0]
        chosen = builder.fcmp_ordered("==", where, _as_float(builder, args[4]))
        after = builder.select(chosen, builder.fadd(before, value), before)
        store_row(builder, start, here, [after], masks)
        return context.get_dummy_value()

    return types.void(array, offset, pair, count, number), codegen


def _as_float(builder: Any, number: Any) -> Any:
    return splat(builder, builder.sitofp(number, ir.FloatType()))
