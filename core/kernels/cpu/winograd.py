"""3x3 convolution, stride 1, by Winograd's algorithm F(4x4, 3x3) (Lavin and Gray 2016, 4.3).

A tile of 4x4 outputs is computed from 6x6 inputs with 36 multiplications instead of 144: both
are transformed to 36 points, multiplied there (36 small matrix products), and transformed
back. All of it happens for a block of tiles that fits the cache. Layouts as in `direct`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import njit, types

from core.kernels.cpu.direct import ARRAY, GEOMETRY, gather
from core.kernels.cpu.tile import (
    add,
    clear,
    copy,
    fma,
    linear,
    load,
    load_column,
    relu,
    store,
    zeros,
)
from core.kernels.cpu.vector import CHECKSUM, FASTMATH, LANES

# Transforms at the points 0, 1, -1, 2, -2 and infinity: of inputs, of weights, of products.
_INPUT = linear(
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_WEIGHT = linear(
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT = linear(
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


@njit(cache=True, nogil=True)
def odd_lines(values: int) -> int:
    """At least so many values, and an odd number of cache lines.

    The 36 points of a tile lie so far apart; a multiple of a power of two would bring them
    into one set of the cache.
    """
    return (values + 15) // 16 // 2 * 32 + 16


@cache
def weight_kernel() -> Callable[..., None]:
    """The kernel that computes the 36 points u of packed weights.

    kernel(packed, u, scratch, C, panel, first panel, last panel): packed is (panels, 3, 3, C,
    panel), u (panels, 36, C, panel).
    """
    return _weight(LANES, CHECKSUM)


def _weight(lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(ARRAY, ARRAY, ARRAY, *[types.int64] * 4),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(packed, u, scratch, c, panel, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        size = c * panel
        for b in range(panel0, panel1):
            for i in range(0, size, lanes):
                for x in range(3):
                    column = load_column(packed, (b * 9 + x) * size + i, 3 * size, 3)
                    store(scratch, x * lanes, 3 * lanes, _WEIGHT(column), 1, lanes)
                for y in range(6):
                    row = _WEIGHT(load_column(scratch, y * 3 * lanes, lanes, 3))
                    store(u, (b * 36 + y * 6) * size + i, size, row, 1, lanes)

    return kernel


@cache
def forward_kernel(rows: int, columns: int) -> Callable[..., None]:
    """The kernel whose products have tiles of `rows` Winograd tiles x `columns` vectors.

    kernel(x, u, bias, y, scratch, geometry, first block, last block, first panel, last panel):
    as the direct kernel; blocks are of `block_rows` rows of outputs, a multiple of 4.
    """
    return _forward(rows, columns, LANES, CHECKSUM)


def _forward(px: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel = kv * lanes

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 4),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, u, bias, y, scratch, g, block0, block1, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        c, across = g.channels, -(-g.columns // 4)
        for block in range(block0, block1):
            image = block // g.blocks
            row0 = (block - image * g.blocks) * g.block_rows
            down = -(-(min(row0 + g.block_rows, g.rows) - row0) // 4)
            tiles = max(down * across, px)
            v_step, m_step = odd_lines(tiles * c), odd_lines(tiles * panel)
            v = (4 * down + 2) * g.line  # the points of the inputs, behind the inputs
            m = v + 36 * v_step  # the points of the products
            patch = m + 36 * m_step
            gather(x, scratch, g, image, row0, row0 + 4 * down)

            for t in range(down * across):
                corner = (t // across) * 4 * g.line + (t % across) * 4 * c
                for i in range(0, c, lanes):
                    for j in range(6):
                        column = load_column(scratch, corner + j * c + i, g.line, 6)
                        store(scratch, patch + j * lanes, 6 * lanes, _INPUT(column), 1, lanes)
                    for j in range(6):
                        row = _INPUT(load_column(scratch, patch + j * 6 * lanes, lanes, 6))
                        place = v + j * 6 * v_step + t * c + i
                        store(scratch, place, v_step, row, 1, lanes)
            if down * across < px:
                for point in range(36):
                    rest = px - down * across
                    clear(scratch, v + point * v_step + down * across * c, rest * c)

            for b in range(panel0, panel1):
                for point in range(36):
                    for start in range(0, tiles, px):
                        t = min(start, tiles - px)
                        sums = zeros(px, kv)
                        vi = v + point * v_step + t * c
                        wi = (b * 36 + point) * c * panel
                        for r in range(c):
                            sums = fma(sums, scratch, vi + r, c, load(u, wi, kv))
                            wi += panel
                        store(scratch, m + point * m_step + t * panel, panel, sums, kv, panel)
                for t in range(down * across):
                    row, column = row0 + (t // across) * 4, (t % across) * 4
                    height, width = min(4, g.rows - row), min(4, g.columns - column)
                    yi = g.y_start + image * g.y_image + row * g.y_row + column * g.y_pixel
                    for i in range(0, min(panel, g.filters - b * panel), lanes):
                        start = load(bias, b * panel + i, 1)
                        for j in range(6):
                            place = m + j * m_step + t * panel + i
                            points = load_column(scratch, place, 6 * m_step, 6)
                            store(scratch, patch + j * lanes, 6 * lanes, _OUTPUT(points), 1, lanes)
                        for j in range(height):
                            points = load_column(scratch, patch + j * 6 * lanes, lanes, 6)
                            pixels = add(_OUTPUT(points), start)
                            if g.relu:
                                pixels = relu(pixels)
                            place = yi + j * g.y_row + b * panel + i
                            if width == 4:
                                store(y, place, g.y_pixel, pixels, 1, lanes)
                                continue
                            store(scratch, patch + 36 * lanes, lanes, pixels, 1, lanes)
                            for k in range(width):
                                source = patch + (36 + k) * lanes
                                copy(y, place + k * g.y_pixel, scratch, source, lanes)

    return kernel
