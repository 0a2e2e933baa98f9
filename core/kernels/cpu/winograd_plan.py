"""When Winograd's algorithm is worth it, and how it is cut up."""

from __future__ import annotations

from core.kernels.cpu import winograd
from core.kernels.cpu.cut import (
    CHUNK,
    MOST_CHUNKS,
    PARTS,
    Chunk,
    Plan,
    TileChunk,
    choose_tile,
    ranges,
)
from core.kernels.cpu.direct import Geometry
from core.kernels.cpu.vector import LANES, REGISTERS

# Values of Winograd's intermediates in one block: half a megabyte, but no fewer tiles
# than the second number, for each block reads all transformed weights.
_WINOGRAD_BLOCK = 1 << 17
_WINOGRAD_TILES = 14
# Tiles in one block of Winograd's weight gradient, and the most channels and filters in one
# chunk: its sums at 36 points for each pair are read and written once a block.
_GRADIENT_TILES = 32
_GRADIENT_SIDE = 128


def applies(g: Geometry) -> bool:
    """Whether it is a 3x3 convolution without steps between positions, dilation or groups."""
    kernel, steps = (g.kernel_height, g.kernel_width), (g.stride_y, g.stride_x)
    one = g.pixel == g.channels and steps == (g.dilation_y, g.dilation_x) == (1, 1)
    return one and kernel == (3, 3)


def cost(g: Geometry, n: int, size: int) -> float:
    """Time of a forward pass by tiles of this size (0: direct), in multiplications, as measured.

    Padded channels count. Weights are brought into their order once, which costs 60 for each of
    their points; the two transforms of pictures cost more for each channel of a tile.
    """
    c, k = _whole_vectors(g.channels), _whole_vectors(g.filters)
    if not size:
        return (n * g.rows * g.columns + 60) * 9 * g.channels * k
    points, pairs = (size + 2) ** 2, g.channels * k
    transforms = {2: 150, 4: 450}[size] * (c + k)
    return _tiles(g, n, size) * (points * pairs + transforms) + 60 * points * pairs


def gradient_wins(g: Geometry, n: int) -> bool:
    """Whether Winograd's weight gradient takes less time than the direct one (as in `_cost`)."""
    c, k = _whole_vectors(g.channels), _whole_vectors(g.filters)
    pairs = g.channels * k
    fast = _tiles(g, n, 4) * (36 * pairs + 600 * (c + k)) + 700 * pairs
    return fast < n * g.rows * g.columns * 9 * pairs


def _tiles(g: Geometry, n: int, size: int) -> int:
    return n * -(-g.rows // size) * -(-g.columns // size)


def _whole_vectors(channels: int) -> int:
    return -(-channels // LANES) * LANES


def _geometry(g: Geometry, size: int, tiles: int) -> winograd.Geometry:
    """Blocks of about so many tiles."""
    down, across = -(-g.rows // size), -(-g.columns // size)
    return winograd.Geometry(
        height=g.height,
        width=g.width,
        channels=g.channels,
        rows=g.rows,
        columns=g.columns,
        filters=g.filters,
        top=g.top,
        left=g.left,
        y_start=g.y_start,
        y_image=g.y_image,
        y_row=g.y_row,
        y_pixel=g.y_pixel,
        relu=g.relu,
        down=down,
        across=across,
        size=size,
        block=max(1, tiles // across, -(-_WINOGRAD_TILES // across)),
    )


def forward(direct: Geometry, n: int, size: int) -> Plan:
    """The plan of a forward pass, or of an input gradient, with tiles of this size."""
    points, c, k = (size + 2) ** 2, direct.channels, direct.filters
    g = _geometry(direct, size, _WINOGRAD_BLOCK // (points * (c + 2 * LANES)))
    rows = n * g.down
    work = n * g.rows * g.columns * c * k
    parts = max(1, min(MOST_CHUNKS, 4 * work // CHUNK, rows // g.block))
    g = g._replace(block=min(g.block, -(-rows // parts)))
    tiles = g.block * g.across
    tile = choose_tile(tiles, k)
    tiles = max(tiles, tile.rows)
    scratch = (size + 2) * (size * g.across + 2) * c + LANES
    scratch += points * (winograd.odd_lines(tiles * c) + winograd.odd_lines(tiles * tile.panel))
    panels = -(-k // tile.panel)
    # Every group of panels transforms its input anew, which should not show.
    groups = 1 if parts >= 8 else min(panels, max(1, k // 96))
    chunks = tuple(Chunk(*b, *p) for b in ranges(rows, parts) for p in ranges(panels, groups))
    return Plan(direct, tile, panels, chunks, scratch, parts, g)


def weight_gradient(direct: Geometry, n: int) -> Plan:
    """The plan of a weight gradient, in the geometry of the forward pass.

    Each chunk has its channels, filters and rows of tiles, and its sums in its scratch.
    """
    c, k = direct.channels, direct.filters
    g = _geometry(direct, 4, _GRADIENT_TILES)
    rows = n * g.down
    channels = ranges(c, -(-c // _GRADIENT_SIDE))
    tile = choose_tile(max(b - a for a, b in channels), min(k, _GRADIENT_SIDE), REGISTERS)
    panels = -(-k // tile.panel)
    groups = ranges(panels, -(-k // _GRADIENT_SIDE))
    filters = [(a * tile.panel, b * tile.panel) for a, b in groups]
    work = rows * g.across * 36 * c * k
    most = max(1, PARTS // (9 * c * k))
    parts = max(1, min(MOST_CHUNKS, work // CHUNK, most, rows // g.block))
    g = g._replace(block=min(g.block, -(-rows // parts)))
    wide, high = (max(b - a for a, b in ranges) for ranges in (channels, filters))
    tiles = g.block * g.across
    scratch = 6 * (4 * g.across + 2) * max(wide, high) + LANES
    scratch += 36 * sum(winograd.odd_lines(v) for v in (tiles * wide, tiles * high, wide * high))
    chunks = tuple(
        TileChunk(*r, *i, *o) for r in ranges(rows, parts) for i in channels for o in filters
    )
    return Plan(direct, tile, panels, chunks, scratch, parts, g)
