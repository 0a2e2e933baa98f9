"""Convolution of 3x3 and 2x2 taps by Winograd's algorithm (Lavin and Gray 2016, 4.1 and 4.3).

F(4x4, 3x3) computes a tile of 4x4 outputs from 6x6 inputs with 36 multiplications instead of
144, F(2x2, 3x3) one of 2x2 from 4x4 with 16 instead of 36, F(4x4, 2x2) one of 4x4 from 5x5 with
25 instead of 64: both operands are transformed to so many points, multiplied there (a small
matrix product for each point), and transformed back. The gradient in the weight is the same
bilinear form, so its transforms are the transposes: inputs as before, gradients by the outputs'
matrix, and the sums over all tiles by the weights'. All of it happens for a block of tiles that
fits the cache. Layouts as in `direct`.

A kernel of 4x4 with stride 2 is one of 2x2 with stride 1 over four pictures of half the size: the
pixels of equal remainders modulo the stride. Their channels count as so many more.

The three forms are told apart by the side of a tile's square of points: 4, 5 or 6.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import njit, types

from core.kernels.cpu.direct import ARRAY
from core.kernels.cpu.tile import (
    add,
    add_store,
    barrier,
    clear,
    copy,
    fma,
    load,
    relu,
    store,
    zeros,
)
from core.kernels.cpu.vector import CHECKSUM, FASTMATH, LANES
from core.kernels.cpu.winograd_tile import Matrix, separable, store_square

# Outputs along the side of a tile, by points along it.
OUTPUTS = {4: 2, 5: 4, 6: 4}
# Transforms of inputs, weights and products at the points 0, 1, -1 (for 5: 2; for 6: 2, -2)
# and infinity.
_INPUTS: dict[int, Matrix] = {
    4: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    5: (
        (2, -1, -2, 1, 0),
        (0, 2, 1, -1, 0),
        (0, -2, 3, -1, 0),
        (0, -1, 0, 1, 0),
        (0, 2, -1, -2, 1),
    ),
    6: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
_WEIGHTS: dict[int, Matrix] = {
    4: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    5: ((1 / 2, 0), (1 / 2, 1 / 2), (1 / 6, -1 / 6), (1 / 6, 1 / 3), (0, 1)),
    6: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
_PRODUCTS: dict[int, Matrix] = {
    4: ((1, 1, 1, 0), (0, 1, -1, 1)),
    5: ((1, 1, 1, 1, 0), (0, 1, -1, 2, 0), (0, 1, 1, 4, 0), (0, 1, -1, 8, 1)),
    6: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}


def _transposed(matrices: dict[int, Matrix]) -> dict[int, Matrix]:
    return {side: tuple(zip(*matrix, strict=True)) for side, matrix in matrices.items()}


_input_points, _weight_points = separable(_INPUTS), separable(_WEIGHTS)
_outputs = separable(_PRODUCTS)
_gradient_points, _taps = separable(_transposed(_PRODUCTS)), separable(_transposed(_WEIGHTS))


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
    side: int  # points along the side of a tile
    block: int  # rows of tiles that are computed together, of one picture or several
    stride: int  # of the input; its remainders' channels follow each other


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
def _window(x, scratch, height, width, c, image, top, left, stride, lines, columns, c0, c1):  # type: ignore[no-untyped-def]
    """Copy every `stride`-th line of a window of one picture, the channels c0 up to c1 of it.

    Beyond the picture there are zeros.
    """
    number = c1 - c0
    before = min(columns, max(0, -left))
    inside = max(0, min(columns, width - left) - before)
    for i in range(lines):
        target = i * columns * number
        y = top + i * stride
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
# the kernels, and the cache would not see an edit of `tile`. `form` is a tuple as long as the side
# of a tile's square of points: they are compiled for its type.


@njit(nogil=True, fastmath=FASTMATH)
def _transform_inputs(x, scratch, g, size, form, first, last, r0, r1, c0, c1, v, step):  # type: ignore[no-untyped-def]
    """The points of tiles in some rows, at v: (points, tiles, r1 - r0, c1 - c0).

    Of the pixels of each remainder modulo the stride from r0 up to r1 they are. Points lie
    `step` values apart.
    """
    side, c, stride = len(form), c1 - c0, g.stride
    columns = ((g.across - 1) * size + side) * stride
    for row in range(first, last):
        image, top = row // g.down, row % g.down * size * stride - g.top
        tiles = v + (row - first) * g.across * (r1 - r0) * c
        for r in range(r0, r1):
            down, right = r // stride, r % stride
            if r == r0 or right == 0:
                _window(
                    x,
                    scratch,
                    g.height,
                    g.width,
                    g.channels,
                    image,
                    top + down,
                    -g.left,
                    stride,
                    side,
                    columns,
                    c0,
                    c1,
                )
            for t in range(g.across):
                corner = (t * size * stride + right) * c
                place = tiles + (t * (r1 - r0) + r - r0) * c
                for i in range(0, c, LANES):
                    points = _input_points(scratch, corner + i, columns * c, stride * c, form)
                    store(scratch, place + i, step, points, 1, LANES)


@njit(nogil=True, fastmath=FASTMATH)
def _transform_gradients(gy, scratch, g, form, first, last, k0, k1, u, step):  # type: ignore[no-untyped-def]
    """The same of the outputs' gradients, tiles of 4; filters beyond the last have any values."""
    k, real = k1 - k0, min(k1, g.filters) - k0
    columns = g.across * 4
    for r in range(first, last):
        image, top = r // g.down, r % g.down * 4
        end = k0 + real
        _window(gy, scratch, g.rows, g.columns, g.filters, image, top, 0, 1, 4, columns, k0, end)
        for t in range(g.across):
            for i in range(0, real, LANES):
                corner = t * 4 * real + i
                place = u + ((r - first) * g.across + t) * k + i
                points = _gradient_points(scratch, corner, columns * real, real, form)
                store(scratch, place, step, points, 1, LANES)


@njit(nogil=True, fastmath=FASTMATH)
def _transform_products(scratch, m, step, panel, bias, y, g, size, form, first, tiles, k0):  # type: ignore[no-untyped-def]
    """The outputs of tiles whose products lie at m: (points, tiles, panel of filters from k0)."""
    for t in range(tiles):
        r = first + t // g.across
        row, column = r % g.down * size, t % g.across * size
        place = g.y_start + r // g.down * g.y_image + row * g.y_row + column * g.y_pixel
        height, width = g.rows - row, g.columns - column
        for k in range(k0, min(k0 + panel, g.filters), LANES):
            source, start, rest = m + t * panel + k - k0, load(bias, k, 1), g.filters - k
            outputs = add(_outputs(scratch, source, len(form) * step, step, form), start)
            if g.relu:
                outputs = relu(outputs)
            store_square(y, place + k, g.y_row, g.y_pixel, outputs, height, width, rest)


@njit(nogil=True, fastmath=FASTMATH)
def _transform_sums(scratch, m, step, k, gw, g, form, r, c0, c1, k0):  # type: ignore[no-untyped-def]
    """The weights' gradient, at one remainder, from the sums at m: (points, c1 - c0, k)."""
    real = min(k, g.filters - k0)
    taps, pairs = len(form) - 3, g.channels * g.filters  # taps along a side: tiles are of 4
    tap = r // g.stride * taps * g.stride + r % g.stride
    across, down = g.stride * pairs, g.stride * g.stride * taps * pairs
    for i in range(c1 - c0):
        first = tap * pairs + (c0 + i) * g.filters + k0
        for j in range(0, real, LANES):
            source = m + i * k + j
            square = _taps(scratch, source, len(form) * step, step, form)
            store_square(gw, first + j, down, across, square, taps, taps, real - j)


@cache
def weight_kernel(side: int) -> Callable[..., None]:
    """The kernel that computes the points u of packed weights, for tiles of `side` points.

    kernel(packed, u, C * panel, stride, first panel, last panel): packed is (panels, kernel
    height, kernel width, C, panel), u (panels, points, stride, stride, C, panel).
    """
    return _weight(side, LANES, CHECKSUM)


def _weight(side: int, lanes: int, checksum: int) -> Callable[..., None]:
    points, taps, form = side * side, side + 1 - OUTPUTS[side], tuple(range(side))

    @njit(types.void(ARRAY, ARRAY, *[types.int64] * 4), cache=True, nogil=True, fastmath=FASTMATH)
    def kernel(packed, u, step, stride, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        width, remainders = taps * stride, stride * stride
        down, across = stride * width * step, stride * step
        for b in range(panel0, panel1):
            for remainder in range(remainders):
                tap = b * width * width + remainder // stride * width + remainder % stride
                place = (b * points * remainders + remainder) * step
                for i in range(0, step, lanes):
                    values = _weight_points(packed, tap * step + i, down, across, form)
                    store(u, place + i, remainders * step, values, 1, lanes)

    return kernel


@cache
def forward_kernel(side: int, rows: int, columns: int) -> Callable[..., None]:
    """The kernel for tiles of `side` points that multiplies `rows` of them x `columns` vectors.

    kernel(x, u, bias, y, scratch, geometry, first row of tiles, last, first panel, last panel):
    rows of tiles are counted over all pictures.
    """
    return _forward(side, rows, columns, LANES, CHECKSUM)


def _forward(side: int, px: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel, size, points, form = kv * lanes, OUTPUTS[side], side * side, tuple(range(side))

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 4),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, u, bias, y, scratch, g, row0, row1, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        remainders = g.stride * g.stride
        c, columns = remainders * g.channels, ((g.across - 1) * size + side) * g.stride
        most = max(g.block * g.across, px)
        v_step, m_step = odd_lines(most * c), odd_lines(most * panel)
        # The points of the inputs lie behind a row of tiles' inputs.
        v = side * columns * g.channels + lanes
        m = v + points * v_step  # the points of the products
        for first in range(row0, row1, g.block):
            last = min(row1, first + g.block)
            tiles = (last - first) * g.across
            _transform_inputs(
                x, scratch, g, size, form, first, last, 0, remainders, 0, g.channels, v, v_step
            )
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
                            barrier()
                        store(scratch, m + point * m_step + t * panel, panel, sums, kv, panel)
                _transform_products(
                    scratch, m, m_step, panel, bias, y, g, size, form, first, tiles, b * panel
                )

    return kernel


@cache
def weight_gradient_kernel(side: int, rows: int, columns: int) -> Callable[..., None]:
    """The kernel that multiplies `rows` channels of the input x `columns` vectors of filters.

    kernel(x, gy, gw, scratch, geometry, first row of tiles, last, remainder, first channel, last,
    first filter, last) writes its share of gw (kernel height, kernel width, C, K): sums over these
    tiles, of 4x4 outputs and `side` points, at one remainder modulo the stride. Filters are
    counted in whole panels, and may go beyond the last.
    """
    return _weight_gradient(side, rows, columns, LANES, CHECKSUM)


def _weight_gradient(side: int, cb: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel, size, points, form = kv * lanes, 4, side * side, tuple(range(side))

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 7),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, gy, gw, scratch, g, row0, row1, r, c0, c1, k0, k1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        c, k = c1 - c0, k1 - k0
        columns, most = ((g.across - 1) * size + side) * g.stride, g.block * g.across
        v_step, u_step, m_step = odd_lines(most * c), odd_lines(most * k), odd_lines(c * k)
        # The points of inputs lie behind a row of tiles' inputs.
        v = side * columns * max(c, k) + lanes
        u = v + points * v_step  # points of gradients
        m = u + points * u_step  # sums of their products
        clear(scratch, m, points * m_step)
        for first in range(row0, row1, g.block):
            last = min(row1, first + g.block)
            tiles = (last - first) * g.across
            _transform_inputs(x, scratch, g, size, form, first, last, r, r + 1, c0, c1, v, v_step)
            _transform_gradients(gy, scratch, g, form, first, last, k0, k1, u, u_step)
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
                            barrier()
                        place = m + point * m_step + i * k + b
                        add_store(scratch, place, k, sums, kv, panel, start - i)

        _transform_sums(scratch, m, m_step, k, gw, g, form, r, c0, c1, k0)

    return kernel
