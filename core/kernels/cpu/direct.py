"""Direct convolution kernels: no im2col, accumulators in registers.

Arrays are flat, float32, contiguous; pictures are (N, H, W, C) in memory. A kernel works on
blocks of output rows. Where padding hangs over the input, the rows that a block sees are
first copied into a scratch buffer with zeros around them: a block fits the L2 cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from numba import njit, types

from core.kernels.cpu.tile import (
    add_store,
    clear,
    copy,
    fma,
    load,
    load_part,
    relu,
    spread,
    store,
    zeros,
)
from core.kernels.cpu.vector import CHECKSUM, FASTMATH, LANES


class Geometry(NamedTuple):
    """Every number that a kernel needs to know about one convolution (lengths in values)."""

    height: int
    width: int
    channels: int
    rows: int  # of outputs
    columns: int
    filters: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    top: int  # rows of zeros above the input; negative: rows left out
    left: int
    y_start: int  # where the first output lies, and the steps to others
    y_image: int
    y_row: int
    y_pixel: int
    relu: int = 0
    gathered: int = 0  # whether blocks are copied into scratch
    line: int = 0  # from one row to the next: of scratch when gathered, else of the input
    block_rows: int = 0
    blocks: int = 0  # in one picture
    pixel: int = 0  # from one pixel of the input to the next: the channels of all groups
    x_start: int = 0  # the first channel
    images: int = 1  # pictures in all
    pictures: int = 1  # in one block, which then holds all their rows
    slices: int = 1  # of `channels` channels each, computed one after the other


ARRAY = types.float32[::1]
GEOMETRY = types.NamedUniTuple(types.int64, len(Geometry._fields), Geometry)


# Not in the cache, whose key would not change with `tile`: kernels contain it.
@njit(nogil=True, fastmath=FASTMATH)
def gather(x, scratch, g, image, row0, row1):  # type: ignore[no-untyped-def]
    """Copy the input rows that output rows row0..row1 of one picture see, zeros around them."""
    gather_slice(x, g.x_start, scratch, 0, g, image, row0, row1)


@njit(nogil=True, fastmath=FASTMATH)
def gather_slice(x, channel, scratch, place, g, image, row0, row1):  # type: ignore[no-untyped-def]
    """As `gather`, `g.channels` channels from `channel` on, to scratch[place:]."""
    first = row0 * g.stride_y - g.top
    count = (row1 - 1 - row0) * g.stride_y + (g.kernel_height - 1) * g.dilation_y + 1
    pixel = g.pixel
    across = g.line // g.channels
    inside0 = min(max(0, g.left), across)
    inside1 = max(inside0, min(across, g.width + g.left))
    for i in range(count):
        target = place + i * g.line
        y = first + i
        if y < 0 or y >= g.height:
            clear(scratch, target, g.line)
            continue
        source = ((image * g.height + y) * g.width - g.left) * pixel + channel
        clear(scratch, target, inside0 * g.channels)
        if pixel == g.channels:
            begin, length = inside0 * pixel, (inside1 - inside0) * pixel
            copy(scratch, target + begin, x, source + begin, length)
        else:
            for j in range(inside0, inside1):
                copy(scratch, target + j * g.channels, x, source + j * pixel, g.channels)
        clear(scratch, target + inside1 * g.channels, (across - inside1) * g.channels)


@cache
def forward_kernel(pixels: int, columns: int) -> Callable[..., None]:
    """The kernel whose tile is `pixels` outputs of a row x `columns` vectors of filters.

    kernel(x, w, bias, y, scratch, geometry, first block, last block, first panel, last panel):
    w is (panels, kernel height, kernel width, C, columns * lanes), bias as long as the panels.
    """
    return _forward(pixels, columns, LANES, CHECKSUM)


def _forward(px: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel = kv * lanes

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 4),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, w, bias, y, scratch, g, block0, block1, panel0, panel1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        segments, length = (1, g.kernel_width * g.channels)
        if g.dilation_x > 1:
            segments, length = g.kernel_width, g.channels
        taps_row = g.kernel_width * g.channels * panel
        taps = g.kernel_height * taps_row
        step = g.stride_x * g.channels
        for block in range(block0, block1):
            image = block // g.blocks
            row0 = (block - image * g.blocks) * g.block_rows
            row1 = min(row0 + g.block_rows, g.rows)
            source, base = x, (image * g.height + row0 * g.stride_y) * g.line
            if g.gathered:
                gather(x, scratch, g, image, row0, row1)
                source, base = scratch, 0
            for b in range(panel0, panel1):
                for row in range(row0, row1):
                    above = row * g.stride_y - g.top
                    ky0 = max(0, -(above // g.dilation_y))
                    ky1 = min(g.kernel_height, -((above - g.height) // g.dilation_y))
                    for start in range(0, g.columns, px):
                        column = min(start, g.columns - px)
                        xi = base + (row - row0) * g.stride_y * g.line + column * step
                        wi = b * taps + ky0 * taps_row
                        sums = spread(load(bias, b * panel, kv), px)
                        for ky in range(ky0, ky1):
                            for s in range(segments):
                                place = xi + ky * g.dilation_y * g.line
                                place += s * g.dilation_x * g.channels
                                for r in range(length):
                                    sums = fma(sums, source, place + r, step, load(w, wi, kv))
                                    wi += panel
                        if g.relu:
                            sums = relu(sums)
                        yi = g.y_start + image * g.y_image + row * g.y_row + column * g.y_pixel
                        store(y, yi + b * panel, g.y_pixel, sums, kv, g.filters - b * panel)

    return kernel


@cache
def weight_gradient_kernel(rows: int, columns: int) -> Callable[..., None]:
    """The kernel whose tile is `rows` inputs of a window x `columns` vectors of filters.

    kernel(x, gy, gw, scratch, geometry, first block, last block, first panel, last panel, first
    slice, last slice) adds to gw (kernel height, kernel width, C, K).
    """
    return _weight_gradient(rows, columns, LANES, CHECKSUM)


def _weight_gradient(cb: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel = kv * lanes

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 6),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(x, gy, gw, scratch, g, block0, block1, panel0, panel1, slice0, slice1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        segments, length = (1, g.kernel_width * g.channels)
        if g.dilation_x > 1 or g.slices > 1:
            segments, length = g.kernel_width, g.channels
        step = g.stride_x * g.channels
        span = (g.block_rows - 1) * g.stride_y + (g.kernel_height - 1) * g.dilation_y + 1
        picture = (span if g.gathered else g.height) * g.line
        packed = g.gathered * g.pictures * picture  # where a panel of gy lies in scratch
        for number in range(slice0, slice1):
            for block in range(block0, block1):
                image0 = block // g.blocks * g.pictures
                image1 = min(image0 + g.pictures, g.images)
                row0 = (block % g.blocks) * g.block_rows
                row1 = min(row0 + g.block_rows, g.rows)
                source, base = x, (image0 * g.height + row0 * g.stride_y) * g.line
                if g.gathered:
                    channel = g.x_start + number * g.channels
                    for image in range(image0, image1):
                        place = (image - image0) * picture
                        gather_slice(x, channel, scratch, place, g, image, row0, row1)
                    source, base = scratch, 0
                for b in range(panel0, panel1):
                    count = g.filters - b * panel
                    gradient, gi0 = gy, g.y_start + image0 * g.y_image + row0 * g.y_row
                    if g.y_pixel != panel:
                        target = packed
                        for image in range(image0, image1):
                            for row in range(row0, row1):
                                gi = g.y_start + image * g.y_image + row * g.y_row + b * panel
                                for _ in range(g.columns):
                                    row_of = load_part(gy, gi, kv, count)
                                    store(scratch, target, panel, row_of, kv, panel)
                                    target += panel
                                    gi += g.y_pixel
                        gradient, gi0 = scratch, packed
                    for tap in range(g.kernel_height * segments):
                        ky, s = tap // segments, tap % segments
                        place = base + ky * g.dilation_y * g.line + s * g.dilation_x * g.channels
                        above = g.top - ky * g.dilation_y
                        first = max(row0, -(-above // g.stride_y))
                        last = min(row1, -(-(g.height + above) // g.stride_y))
                        for start in range(0, length, cb):
                            r = min(start, length - cb)
                            sums = zeros(cb, kv)
                            for p in range(image1 - image0):
                                gi = gi0 + (p * (row1 - row0) + first - row0) * g.columns * panel
                                xi0 = place + p * picture + r
                                for row in range(first, last):
                                    xi = xi0 + (row - row0) * g.stride_y * g.line
                                    for _ in range(g.columns):
                                        sums = fma(sums, source, xi, 1, load(gradient, gi, kv))
                                        xi += step
                                        gi += panel
                            wi = (tap * length * g.slices + number * length + r) * g.y_pixel
                            wi += g.y_start + b * panel
                            add_store(gw, wi, g.y_pixel, sums, kv, count, start - r)

    return kernel
