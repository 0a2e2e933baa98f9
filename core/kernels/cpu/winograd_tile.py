"""Instructions on squares of vectors: the transforms of Winograd's tiles, and their stores.

This module is part of the kernels' cache key (`vector.CHECKSUM`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import types

from core.kernels.cpu.tile import instruction
from core.kernels.cpu.vector import (
    LANES,
    VECTOR,
    fmuladd,
    load_row,
    place_in,
    rows_of,
    store_row,
    tile_of,
    times,
    vector,
    whole_or_part,
)

Matrix = tuple[tuple[float, ...], ...]


def separable(matrices: dict[int, Matrix]) -> Any:
    """An instruction: A X A^T for a constant matrix A and a square X of vectors in memory.

    product(array, offset, step, column step, form): A is matrices[len(form)], for a tuple has its
    length when a kernel is compiled; X's rows lie `step` values apart, its columns `column step`.
    The result is a tile of one column, row by row.
    """

    @instruction
    def product(
        typingctx: Any, array: Any, offset: Any, step: Any, column_step: Any, form: Any
    ) -> Any:
        matrix = matrices[len(form)]
        result = types.UniTuple(vector, len(matrix) ** 2)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            start = place_in(context, builder, signature.args[0], args[0], args[1])
            columns = []
            for j in range(len(matrix[0])):
                first = times(builder, args[3], j)
                places = [
                    builder.add(first, times(builder, args[2], i)) for i in range(len(matrix[0]))
                ]
                values = [load_row(builder, start, place, 1)[0] for place in places]
                columns.append(_product(builder, matrix, values))
            rows = zip(*columns, strict=True)
            sums = [value for row in rows for value in _product(builder, matrix, row)]
            return tile_of(context, builder, signature, sums)

        return result(array, offset, step, column_step, form), codegen

    return product


def _product(builder: Any, matrix: Matrix, values: Sequence[Any]) -> list[Any]:
    """The product of a constant matrix and a column of vectors.

    Two neighbouring rows that differ in the sign of odd places only (the points a and -a of
    Winograd's transforms) share their sums; so do neighbouring columns of that kind.
    """
    for j in range(len(values) - 1):
        if _mirrored([row[j] for row in matrix], [row[j + 1] for row in matrix]):
            a, b = values[j : j + 2]
            values = [*values[:j], builder.fadd(a, b), builder.fsub(a, b), *values[j + 2 :]]
            matrix = tuple(
                (*row[:j], 0 if i % 2 else row[j], row[j] if i % 2 else 0, *row[j + 2 :])
                for i, row in enumerate(matrix)
            )
    sums: list[Any] = []
    for i, row in enumerate(matrix):
        if i and _mirrored(matrix[i - 1], row):
            continue
        if i + 1 < len(matrix) and _mirrored(row, matrix[i + 1]):
            halves = ([f if k % 2 == rest else 0 for k, f in enumerate(row)] for rest in (0, 1))
            even, odd = (_combination(builder, factors, values) for factors in halves)
            sums += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            sums.append(_combination(builder, row, values))
    return sums


def _mirrored(row: Sequence[float], other: Sequence[float]) -> bool:
    return list(row) != list(other) == [-f if k % 2 else f for k, f in enumerate(row)]


def _combination(builder: Any, factors: Sequence[float], values: Sequence[Any]) -> Any:
    total = None
    for factor, value in zip(factors, values, strict=True):
        if not factor:
            continue
        if total is None:
            constant = ir.Constant(VECTOR, [float(factor)] * LANES)
            total = value if factor == 1 else builder.fmul(value, constant)
        elif abs(factor) == 1:
            total = (builder.fadd if factor > 0 else builder.fsub)(total, value)
        else:
            constant = ir.Constant(VECTOR, [float(factor)] * LANES)
            total = fmuladd(builder, value, constant, total)
    return total


@instruction
def store_square(
    typingctx: Any,
    array: Any,
    offset: Any,
    step: Any,
    column_step: Any,
    tile: Any,
    height: Any,
    width: Any,
    count: Any,
) -> Any:
    """The upper left height x width vectors of a square tile, the first `count` values of each.

    Rows lie `step` values apart in array[offset:], columns `column step`.
    """
    size = math.isqrt(len(tile))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, offset, step, column_step, tile, height, width, count = args
        start = place_in(context, builder, signature.args[0], array, offset)
        rows = rows_of(builder, tile, size)

        def write(masks: list[Any] | None) -> None:
            for i, row in enumerate(rows):
                with builder.if_then(_above(builder, height, i), likely=True):
                    first = times(builder, step, i)
                    for j, value in enumerate(row):
                        with builder.if_then(_above(builder, width, j), likely=True):
                            place = builder.add(first, times(builder, column_step, j))
                            store_row(builder, start, place, [value], masks)

        whole_or_part(builder, count, 1, write)
        return context.get_dummy_value()

    arguments = array, offset, step, column_step, tile, height, width, count
    return types.void(*arguments), codegen


def _above(builder: Any, value: Any, number: int) -> Any:
    return builder.icmp_signed(">", value, ir.Constant(value.type, number))
