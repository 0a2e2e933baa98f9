"""Depthwise convolution: every channel has its own kernel, so vectors are of channels.

Layouts, blocks and phases as in `direct`; a weight is (kernel height, kernel width, C), which is
how it is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import njit, types

from core.kernels.cpu.direct import ARRAY, GEOMETRY, gather
from core.kernels.cpu.tile import add_store, fma_column, load_part, relu, spread, store, zeros
from core.kernels.cpu.vector import CHECKSUM, FASTMATH, LANES


@cache
def forward_kernel(pixels: int) -> Callable[..., None]:
    """The kernel whose tile is `pixels` outputs of a row x one vector of channels.

    kernel(x, w, bias, y, scratch, geometry, first block, last block).
    """
    return _forward(pixels, LANES, CHECKSUM)


def _forward(px: int, lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 2),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, w, bias, y, scratch, g, block0, block1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        step = g.stride_x * g.channels
        for block in range(block0, block1):
            image = block // g.blocks
            row0 = (block - image * g.blocks) * g.block_rows
            row1 = min(row0 + g.block_rows, g.rows)
            source, base = x, (image * g.height + row0 * g.stride_y) * g.line
            if g.gathered:
                gather(x, scratch, g, image, row0, row1)
                source, base = scratch, 0
            for row in range(row0, row1):
                for start in range(0, g.columns, px):
                    column = min(start, g.columns - px)
                    corner = base + (row - row0) * g.stride_y * g.line + column * step
                    place = g.y_start + image * g.y_image + row * g.y_row + column * g.y_pixel
                    for c in range(0, g.channels, lanes):
                        count = g.channels - c
                        sums = spread(load_part(bias, c, 1, count), px)
                        wi = c
                        for ky in range(g.kernel_height):
                            xi = corner + ky * g.dilation_y * g.line + c
                            for _ in range(g.kernel_width):
                                taps = load_part(w, wi, 1, count)
                                sums = fma_column(sums, source, xi, step, taps, count)
                                xi += g.dilation_x * g.channels
                                wi += g.channels
                        if g.relu:
                            sums = relu(sums)
                        store(y, place + c, g.y_pixel, sums, 1, count)

    return kernel


@cache
def weight_gradient_kernel(width: int) -> Callable[..., None]:
    """The kernel for kernels `width` wide: one row of theirs is a tile.

    kernel(x, gy, gw, scratch, geometry, first block, last block) adds to gw.
    """
    return _weight_gradient(width, LANES, CHECKSUM)


def _weight_gradient(width: int, lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 2),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, gy, gw, scratch, g, block0, block1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        c = g.channels
        for block in range(block0, block1):
            image = block // g.blocks
            row0 = (block - image * g.blocks) * g.block_rows
            row1 = min(row0 + g.block_rows, g.rows)
            source, base = x, (image * g.height + row0 * g.stride_y) * g.line
            if g.gathered:
                gather(x, scratch, g, image, row0, row1)
                source, base = scratch, 0
            for i in range(0, c, lanes):
                count = c - i
                for ky in range(g.kernel_height):
                    sums = zeros(width, 1)
                    for row in range(row0, row1):
                        line = (row - row0) * g.stride_y + ky * g.dilation_y
                        xi = base + line * g.line + i
                        gi = image * g.y_image + row * g.y_row + i
                        for _ in range(g.columns):
                            value = load_part(gy, gi, 1, count)
                            sums = fma_column(sums, source, xi, g.dilation_x * c, value, count)
                            xi += g.stride_x * c
                            gi += g.y_pixel
                    add_store(gw, ky * width * c + i, c, sums, 1, count, 0)

    return kernel
