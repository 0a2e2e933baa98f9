"""Input gradient for few channels: what each pixel of gy gives, added where it belongs.

With three channels a vector of filters would be mostly empty. All kernel positions and channels
together fill vectors: one product gives them for a block of pixels (in scratch, a block at a time),
and their rows are added to the rows of the result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from numba import njit, types

from core.kernels.cpu.direct import ARRAY, GEOMETRY
from core.kernels.cpu.tile import add, clear, copy, fma, load, load_part, store, zeros
from core.kernels.cpu.vector import CHECKSUM, FASTMATH, LANES


@cache
def kernel(pixels: int, columns: int) -> Callable[..., None]:
    """The kernel whose tile is `pixels` of gy x `columns` vectors of kernel positions.

    kernel(gy, w, gx, scratch, geometry of the forward pass, panels, first block, last block): w is
    (panels, K, panel), blocks are of rows of gx.
    """
    return _scatter(pixels, columns, LANES, CHECKSUM)


def _scatter(px: int, kv: int, lanes: int, checksum: int) -> Callable[..., None]:
    panel = kv * lanes

    @njit(
        types.void(ARRAY, ARRAY, ARRAY, ARRAY, GEOMETRY, *[types.int64] * 3),
        cache=True,
        nogil=True,
        fastmath=FASTMATH,
    )
    def kernel(gy, w, gx, scratch, g, panels, block0, block1):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        k, c, wide = g.filters, g.channels, panels * panel
        taps = g.kernel_width * c
        passes = -(-g.kernel_width // g.stride_x)  # pixels of one pass do not meet
        for block in range(block0, block1):
            image = block // g.blocks
            row0 = (block - image * g.blocks) * g.block_rows
            row1 = min(row0 + g.block_rows, g.height)
            reach = (g.kernel_height - 1) * g.dilation_y
            first = max(0, -(-(row0 + g.top - reach) // g.stride_y))
            last = min(g.rows, (row1 - 1 + g.top) // g.stride_y + 1)
            pixels = max(0, last - first) * g.columns
            for b in range(panels):
                for start in range(0, pixels, px):
                    p = min(start, pixels - px)
                    gi = ((image * g.rows + first) * g.columns + p) * k
                    sums = zeros(px, kv)
                    for r in range(k):
                        sums = fma(sums, gy, gi + r, k, load(w, (b * k + r) * panel, kv))
                    store(scratch, p * wide + b * panel, wide, sums, kv, panel)

            line = pixels * wide
            for row in range(row0, row1):
                clear(scratch, line, g.line)
                for ky in range(g.kernel_height):
                    place = row + g.top - ky * g.dilation_y
                    y = place // g.stride_y
                    if y * g.stride_y != place or y < first or y >= last:
                        continue
                    for q in range(passes):
                        for x in range(q, g.columns, passes):
                            source = ((y - first) * g.columns + x) * wide + ky * taps
                            target = line + x * g.stride_x * c
                            for i in range(0, taps, lanes):
                                count = taps - i
                                sums = load_part(scratch, target + i, 1, count)
                                sums = add(sums, load_part(scratch, source + i, 1, count))
                                store(scratch, target + i, 0, sums, 1, count)
                target = (image * g.height + row) * g.width * c
                copy(gx, target, scratch, line + g.left * c, g.width * c)

    return kernel
