"""3x3 convolution, stride 1, by Winograd's algorithm (Lavin and Gray 2016, 4.1 and 4.3).

F(4x4, 3x3) computes a tile of 4x4 outputs from 6x6 inputs with 36 multiplications instead of
144, F(2x2, 3x3) one of 2x2 from 4x4 with 16 instead of 36: both operands are transformed to
so many points, multiplied there (a small matrix product for each point), and transformed
back. The gradient in the weight is the same bilinear form, so its transforms are the transposes:
inputs as before, gradients by the outputs' matrix, and the sums over all tiles by the weights'.
All of it happens for a block of tiles that fits the cache. Layouts as in `direct`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import njit, types

from core.kernels.cpu.direct import ARRAY
from core.kernels.cpu.tile import add, add_store, clear, copy, fma, load, relu, store, zeros
from core.kernels.cpu.vector import CHECKSUM, FASTMATH, LANES
from core.kernels.cpu.winograd_tile import Matrix, separable, store_square

# Transforms of inputs, weights and products by the size of a tile of outputs, at the points
# 0, 1, -1 (for 4: 2, -2) and infinity.
_INPUTS: dict[int, Matrix] = {
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
_WEIGHTS: dict[int, Matrix] = {
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
_OUTPUTS: dict[int, Matrix] = {
    2: ((1, 1, 1, 0), (0, 1, -1, 1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}


def _transposed(matrices: dict[int, Matrix]) -> dict[int, Matrix]:
    return {size: tuple(zip(*matrix, strict=True)) for size, matrix in matrices.items()}


_input_points, _weight_points = separable(_INPUTS), separable(_WEIGHTS)
_outputs = separable(_OUTPUTS)
_gradient_points, _taps = separable(_transposed(_OUTPUTS)), separable(_transposed(_WEIGHTS))


class Geometry(NamedTuple):
    """Every number that a kernel needs to know about one convolution."""

    height: int
    width: int
    channels: int
    rows: int  # of outputs
    columns: int
    filters: int
    top: int  # rows of zeros above the input
    left: int
    y_start: int  # where the first output lies, and the steps to others, in values
    y_image: int
    y_row: int
    y_pixel: int
    relu: int
    down: int  # rows of tiles in one picture
    across: int  # tiles in one row
    size: int  # outputs along a side of a tile
    block: int  # rows of tiles that are computed together, of one picture or several


GEOMETRY = types.NamedUniTuple(types.int64, len(Geometry._fields), Geometry)


@njit(cache=True, nogil=True)
def odd_lines(values: int) -> int:
    """At least so many values and a vector more, and an odd number of cache lines.

    The points of a tile lie so far apart; a multiple of a power of two would bring them into
    one set of the cache. The vector takes what is written behind the last channel.
    """
    return (values + 31) // 16 // 2 * 32 + 16


# Not in the cache, whose key would not change with `tile`: kernels contain it.
@njit(nogil=True, fastmath=FASTMATH)
def _window(x, scratch, height, width, c, image, top, left, lines, columns, c0, c1):  # type: ignore[no-untyped-def]
    """Copy a window of one picture, and of the channels c0 up to c1, with zeros around it."""
    number = c1 - c0
    before = min(columns, max(0, -left))
    inside = max(0, min(columns, width - left) - before)
    for i in range(lines):
        target = i * columns * number
        y = top + i
        if y < 0 or y >= height:
            clear(scratch, target, columns * number)
            continue
        source = ((image * height + y) * width + left + before) * c + c0
        clear(scratch, target, before * number)
        target += before * number
        if number == c:
            copy(scratch, target, x, source, inside * c)
        else:
            for j in range(inside):
                copy(scratch, target + j * number, x, source + j * c, number)
        clear(scratch, target + inside * number, (columns - before - inside) * number)


# The transforms of pictures are functions that the kernels call, not part of the kernels: their
# constants would take the registers that the products' sums need. Not cached, for they end up in
# the kernels, and the cache would not see an edit of `tile`.


@njit(nogil=True, fastmath=FASTMATH)
def _transform_inputs(x, scratch, g, size, first, last, c0, c1, v, step):  # type: ignore[no-untyped-def]
    """The points of tiles in some rows, at v: (points, tiles, c1 - c0), points `step` apart."""
    c, columns = c1 - c0, g.across * size + 2
    for r in range(first, last):
        image, top = r // g.down, r % g.down * size - g.top
        _window(
            x,
            scratch,
            g.height,
            g.width,
            g.channels,
            image,
            top,
            -g.left,
            size + 2,
            columns,
            c0,
            c1,
        )
        for t in range(g.across):
            for i in range(0, c, LANES):
                corner = t * size * c + i
                place = v + ((r - first) * g.across + t) * c + i
                if size == 4:
                    four = _input_points(scratch, corner, columns * c, c, 4)
                    store(scratch, place, step, four, 1, LANES)
                else:
                    two = _input_points(scratch, corner, columns * c, c, 2)
                    store(scratch, place, step, two, 1, LANES)


@njit(nogil=True, fastmath=FASTMATH)
def _transform_gradients(gy, scratch, g, first, last, k0, k1, u, step):  # type: ignore[no-untyped-def]
    """The same of the outputs' gradients, tiles of 4; filters beyond the last have any values."""
    k, real = k1 - k0, min(k1, g.filters) - k0
    columns = g.across * 4
    for r in range(first, last):
        image, top = r // g.down, r % g.down * 4
        _window(gy, scratch, g.rows, g.columns, g.filters, image, top, 0, 4, columns, k0, k0 + real)
        for t in range(g.across):
            for i in range(0, real, LANES):
                values = _gradient_points(scratch, t * 4 * real + i, columns * real, real, 4)
                place = u + ((r - first) * g.across + t) * k + i
                store(scratch, place, step, values, 1, LANES)


@njit(nogil=True, fastmath=FASTMATH)
def _transform_products(scratch, m, step, panel, bias, y, g, size, first, tiles, k0):  # type: ignore[no-untyped-def]
    """The outputs of tiles whose products lie at m: (points, tiles, panel of filters from k0)."""
    for t in range(tiles):
        r = first + t // g.across
        row, column = r % g.down * size, t % g.across * size
        place = g.y_start + r // g.down * g.y_image + row * g.y_row + column * g.y_pixel
        height, width = g.rows - row, g.columns - column
        for k in range(k0, min(k0 + panel, g.filters), LANES):
            source, start, rest = m + t * panel + k - k0, load(bias, k, 1), g.filters - k
            if size == 4:
                four = add(_outputs(scratch, source, 6 * step, step, 4), start)
                if g.relu:
                    four = relu(four)
                store_square(y, place + k, g.y_row, g.y_pixel, four, height, width, rest)
            else:
                two = add(_outputs(scratch, source, 4 * step, step, 2), start)
                if g.relu:
                    two = relu(two)
                store_square(y, place + k, g.y_row, g.y_pixel, two, height, width, rest)


@njit(nogil=True, fastmath=FASTMATH)
def _transform_sums(scratch, m, step, k, gw, g, c0, c1, k0):  # type: ignore[no-untyped-def]
    """The weights' gradient from the sums at m: (points, c1 - c0, k)."""
    real = min(k, g.filters - k0)
    for i in range(c1 - c0):
        for j in range(0, real, LANES):
            taps = _taps(scratch, m + i * k + j, 6 * step, step, 4)
            place = (c0 + i) * g.filters + k0 + j
            store(gw, place, g.channels * g.filters, taps, 1, real - j)


@cache
def weight_kernel(size: int) -> Callable[..., None]:
    """The kernel that computes the points u of packed weights, for tiles of `size` outputs.

    kernel(packed, u, C * panel, first panel, last panel): packed is (panels, 3, 3, C, panel),
    u (panels, points, C, panel).
    """
    return _weight(size, LANES, CHECKSUM)


def _weight(size: int, lanes: int, checksum: int) -> Callable[..., None]:
    points = (size + 2) ** 2

    @njit(types.void(ARRAY, ARRAY, *[types.int64] * 3), cache=True, nogil=True, fastmath=FASTMATH)
    def kernel(packed, u, step, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        for b in range(panel0, panel1):
            for i in range(0, step, lanes):
                values = _weight_points(packed, b * 9 * step + i, 3 * step, step, size)
                store(u, b * points * step + i, step, values, 1, lanes)

    return kernel


@cache
def forward_kernel(size: int, rows: int, columns: int) -> Callable[..., None]:
    """The kernel for tiles of `size` outputs that multiplies `rows` of them x `columns` vectors.

    kernel(x, u, bias, y, scratch, geometry, first row of tiles, last, first panel, last panel):
    rows of tiles are counted over all pictures.
    """
    return _forward(size, rows, columns, LANES, CHECKSUM)


def _forward(size: int, px: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel, side = kv * lanes, size + 2
    points = side * side

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 4),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, u, bias, y, scratch, g, row0, row1, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        c, columns = g.channels, g.across * size + 2
        most = max(g.block * g.across, px)
        v_step, m_step = odd_lines(most * c), odd_lines(most * panel)
        v = side * columns * c + lanes  # the points of the inputs, behind a row of tiles' inputs
        m = v + points * v_step  # the points of the products
        for first in range(row0, row1, g.block):
            last = min(row1, first + g.block)
            tiles = (last - first) * g.across
            _transform_inputs(x, scratch, g, size, first, last, 0, c, v, v_step)
            rows = max(tiles, px)
            if tiles < px:
                for point in range(points):
                    clear(scratch, v + point * v_step + tiles * c, (px - tiles) * c)

            for b in range(panel0, panel1):
                for point in range(points):
                    for start in range(0, rows, px):
                        t = min(start, rows - px)
                        sums = zeros(px, kv)
                        vi = v + point * v_step + t * c
                        wi = (b * points + point) * c * panel
                        for _ in range(c):
                            sums = fma(sums, scratch, vi, c, load(u, wi, kv))
                            vi += 1  # not vi + i: rows at fixed offsets would spill sums
                            wi += panel
                        store(scratch, m + point * m_step + t * panel, panel, sums, kv, panel)
                _transform_products(
                    scratch, m, m_step, panel, bias, y, g, size, first, tiles, b * panel
                )

    return kernel


@cache
def weight_gradient_kernel(rows: int, columns: int) -> Callable[..., None]:
    """The kernel that multiplies `rows` channels of the input x `columns` vectors of filters.

    kernel(x, gy, gw, scratch, geometry, first row of tiles, last, first channel, last, first
    filter, last) writes its share of gw (3, 3, C, K): sums over these tiles. Filters are counted
    in whole panels, and may go beyond the last.
    """
    return _weight_gradient(rows, columns, LANES, CHECKSUM)


def _weight_gradient(cb: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel, size, points = kv * lanes, 4, 36

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 6),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, gy, gw, scratch, g, row0, row1, c0, c1, k0, k1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        c, k = c1 - c0, k1 - k0
        columns, most = g.across * size + 2, g.block * g.across
        v_step, u_step, m_step = odd_lines(most * c), odd_lines(most * k), odd_lines(c * k)
        # The points of inputs lie behind a row of tiles' inputs.
        v = (size + 2) * columns * max(c, k) + lanes
        u = v + points * v_step  # points of gradients
        m = u + points * u_step  # sums of their products
        clear(scratch, m, points * m_step)
        for first in range(row0, row1, g.block):
            last = min(row1, first + g.block)
            tiles = (last - first) * g.across
            _transform_inputs(x, scratch, g, size, first, last, c0, c1, v, v_step)
            _transform_gradients(gy, scratch, g, first, last, k0, k1, u, u_step)
            for point in range(points):
                for b in range(0, k, panel):
                    for start in range(0, c, cb):
                        i = min(start, c - cb)
                        sums = zeros(cb, kv)
                        vi, ui = v + point * v_step + i, u + point * u_step + b
                        for _ in range(tiles):
                            sums = fma(sums, scratch, vi, 1, load(scratch, ui, kv))
                            vi += c
                            ui += k
                        place = m + point * m_step + i * k + b
                        add_store(scratch, place, k, sums, kv, panel, start - i)

        _transform_sums(scratch, m, m_step, k, gw, g, c0, c1, k0)

    return kernel
