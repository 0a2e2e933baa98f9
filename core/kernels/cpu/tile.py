"""Register tiles: the instructions that kernels are written in.

A tile is a tuple of rows * columns vectors: one instruction handles all of it, so that a kernel
is an ordinary function whose accumulators never touch memory. Offsets count float32 values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from core.kernels.cpu.vector import (
    I32,
    LANES,
    ZERO,
    fmuladd,
    load_row,
    masks_below,
    place_in,
    row_type,
    rows_of,
    splat,
    store_row,
    tile_of,
    times,
    vector,
    whole_or_part,
)


def instruction(function: Callable[..., Any]) -> Any:
    """Let kernels call `function`; whole numbers that are constants arrive as literal types."""
    return intrinsic(prefer_literal=True)(function)


@instruction
def zeros(typingctx: Any, rows: Any, columns: Any) -> Any:
    """A tile of zeros."""
    if (result := row_type(rows, columns)) is None:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return tile_of(context, builder, signature, [ZERO] * len(result))

    return result(rows, columns), codegen


@instruction
def load(typingctx: Any, array: Any, offset: Any, columns: Any) -> Any:
    """A row of `columns` vectors from array[offset:]."""
    if (result := row_type(columns)) is None:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = place_in(context, builder, signature.args[0], args[0], args[1])
        row = load_row(builder, start, ir.Constant(args[1].type, 0), len(result))
        return tile_of(context, builder, signature, row)

    return result(array, offset, columns), codegen


@instruction
def load_part(typingctx: Any, array: Any, offset: Any, columns: Any, count: Any) -> Any:
    """As `load`, but only the first `count` values are read; the others are zeros."""
    if (result := row_type(columns)) is None:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = place_in(context, builder, signature.args[0], args[0], args[1])
        masks = masks_below(builder, args[3], len(result))
        row = load_row(builder, start, ir.Constant(args[1].type, 0), len(result), masks)
        return tile_of(context, builder, signature, row)

    return result(array, offset, columns, count), codegen


@instruction
def spread(typingctx: Any, row: Any, rows: Any) -> Any:
    """A tile of `rows` equal rows."""
    if not isinstance(rows, types.IntegerLiteral):
        return None
    result = types.UniTuple(vector, rows.literal_value * len(row))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[0])
        return tile_of(context, builder, signature, values * rows.literal_value)

    return result(row, rows), codegen


@instruction
def fma(typingctx: Any, tile: Any, array: Any, offset: Any, step: Any, row: Any) -> Any:
    """tile[p, v] + array[offset + p * step] * row[v] for every row p and column v."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, weights = (
            cgutils.unpack_tuple(builder, args[0]),
            cgutils.unpack_tuple(builder, args[4]),
        )
        start = place_in(context, builder, signature.args[1], args[1], args[2])
        for p in range(len(sums) // len(weights)):
            place = times(builder, args[3], p)
            address = start.at(builder, place, ir.Constant(place.type, 1))
            scalar = splat(builder, builder.load(address))
            for i, weight in enumerate(weights, p * len(weights)):
                sums[i] = fmuladd(builder, scalar, weight, sums[i])
        return tile_of(context, builder, signature, sums)

    return tile(tile, array, offset, step, row), codegen


@instruction
def barrier(typingctx: Any) -> Any:
    """Keep loads of what follows behind it; takes no time itself.

    At the end of a loop's body it stops LLVM from fetching the next round's values early, for
    which it would have to put sums of a full tile into memory.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.asm(kind, "", "~{memory}", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(), codegen


@instruction
def fma_column(
    typingctx: Any, tile: Any, array: Any, offset: Any, step: Any, row: Any, count: Any
) -> Any:
    """tile[p] + array[offset + p * step :] * row for every row p of one vector.

    Only the first `count` values of a row are read; the others count as zeros.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums = cgutils.unpack_tuple(builder, args[0])
        (factor,) = cgutils.unpack_tuple(builder, args[4])
        start = place_in(context, builder, signature.args[1], args[1], args[2])
        masks = masks_below(builder, args[5], 1)
        for p, total in enumerate(sums):
            (value,) = load_row(builder, start, times(builder, args[3], p), 1, masks)
            sums[p] = fmuladd(builder, value, factor, total)
        return tile_of(context, builder, signature, sums)

    return tile(tile, array, offset, step, row, count), codegen


@instruction
def add(typingctx: Any, tile: Any, row: Any) -> Any:
    """tile[p, v] + row[v] for every row p and column v."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, summands = (cgutils.unpack_tuple(builder, arg) for arg in args)
        values = [builder.fadd(s, summands[i % len(summands)]) for i, s in enumerate(sums)]
        return tile_of(context, builder, signature, values)

    return tile(tile, row), codegen


@instruction
def relu(typingctx: Any, tile: Any) -> Any:
    """max(tile, 0); NaN stays NaN."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [
            builder.select(builder.fcmp_ordered("<", value, ZERO), ZERO, value)
            for value in cgutils.unpack_tuple(builder, args[0])
        ]
        return tile_of(context, builder, signature, values)

    return tile(tile), codegen


@instruction
def store(
    typingctx: Any, array: Any, offset: Any, step: Any, tile: Any, columns: Any, count: Any
) -> Any:
    """array[offset + p * step :] = the first `count` values of row p, for every row."""
    if row_type(columns) is None:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, offset, step, tile, _, count = args
        start = place_in(context, builder, signature.args[0], array, offset)
        rows = rows_of(builder, tile, columns.literal_value)

        def write(masks: list[Any] | None) -> None:
            for p, row in enumerate(rows):
                store_row(builder, start, times(builder, step, p), row, masks)

        whole_or_part(builder, count, columns.literal_value, write)
        return context.get_dummy_value()

    return types.void(array, offset, step, tile, columns, count), codegen


@instruction
def add_store(
    typingctx: Any,
    array: Any,
    offset: Any,
    step: Any,
    tile: Any,
    columns: Any,
    count: Any,
    skip: Any,
) -> Any:
    """As `store`, but adds to what is there, and leaves the first `skip` rows alone."""
    if row_type(columns) is None:
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, offset, step, tile, _, count, skip = args
        start = place_in(context, builder, signature.args[0], array, offset)
        rows = rows_of(builder, tile, columns.literal_value)

        def write(masks: list[Any] | None) -> None:
            for p, row in enumerate(rows):
                wanted = builder.icmp_signed("<=", skip, ir.Constant(skip.type, p))
                with builder.if_then(wanted, likely=True):
                    place = times(builder, step, p)
                    before = load_row(builder, start, place, len(row), masks)
                    sums = [builder.fadd(a, b) for a, b in zip(before, row, strict=True)]
                    store_row(builder, start, place, sums, masks)

        whole_or_part(builder, count, columns.literal_value, write)
        return context.get_dummy_value()

    return types.void(array, offset, step, tile, columns, count, skip), codegen


@instruction
def copy(
    typingctx: Any, target: Any, target_offset: Any, source: Any, source_offset: Any, count: Any
) -> Any:
    """target[target_offset:] = `count` values of source[source_offset:]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = place_in(context, builder, signature.args[0], args[0], args[1])
        start = place_in(context, builder, signature.args[2], args[2], args[3])
        here, count = ir.Constant(args[1].type, 0), args[4]
        first, source = to.at(builder, here, count), start.at(builder, here, count)
        cgutils.raw_memcpy(builder, first, source, count, ir.Constant(count.type, 4))
        return context.get_dummy_value()

    return types.void(target, target_offset, source, source_offset, count), codegen


@instruction
def clear(typingctx: Any, target: Any, offset: Any, count: Any) -> Any:
    """target[offset : offset + count] = 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = place_in(context, builder, signature.args[0], args[0], args[1])
        address = start.at(builder, ir.Constant(args[1].type, 0), args[2])
        cgutils.memset(builder, address, times(builder, args[2], 4), 0)
        return context.get_dummy_value()

    return types.void(target, offset, count), codegen


@instruction
def transpose(
    typingctx: Any,
    target: Any,
    target_offset: Any,
    target_step: Any,
    source: Any,
    source_offset: Any,
    source_step: Any,
) -> Any:
    """A square of LANES rows of LANES values, the steps apart, with rows and columns exchanged."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = place_in(context, builder, signature.args[0], args[0], args[1])
        start = place_in(context, builder, signature.args[3], args[3], args[4])
        rows = [load_row(builder, start, times(builder, args[5], i), 1)[0] for i in range(LANES)]
        half = 1
        while half < LANES:  # exchange the off-diagonal squares of half x half values
            for i in (i for i in range(LANES) if not i & half):
                a, b = rows[i], rows[i + half]
                upper = [j if not j & half else LANES + j - half for j in range(LANES)]
                lower = [j + half if not j & half else LANES + j for j in range(LANES)]
                rows[i], rows[i + half] = (
                    builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, LANES), order))
                    for order in (upper, lower)
                )
            half *= 2
        for i, row in enumerate(rows):
            store_row(builder, to, times(builder, args[2], i), [row], None)
        return context.get_dummy_value()

    arguments = target, target_offset, target_step, source, source_offset, source_step
    return types.void(*arguments), codegen
