"""When Winograd's algorithm is worth it, and how it is cut up."""

from __future__ import annotations

from core.kernels.cpu import winograd
from core.kernels.cpu.cut import (
    CHUNK,
    MOST_CHUNKS,
    PARTS,
    Chunk,
    Plan,
    Round,
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
# Values of transformed weights that are in memory together, as far as so many rounds of filters
# allow: each round transforms its input anew.
_WEIGHT_POINTS = 1 << 21
_MOST_ROUNDS = 3
# Values of transformed weights that stay in the last cache while pictures pass by.
_CACHED = 3 << 22
# Tiles in one block of Winograd's weight gradient, and the most channels and filters in one
# chunk: its sums at 36 points for each pair are read and written once a block.
_GRADIENT_TILES = 32
_GRADIENT_SIDE = 128
# The transforms of one channel of a tile, in multiplications, by the side of its points: inputs
# and products; inputs and gradients.
_TRANSFORMS = {4: 150, 5: 350, 6: 450}
_GRADIENT_TRANSFORMS = {5: 450, 6: 600}


def sides(g: Geometry) -> tuple[int, ...]:
    """The sides of the tiles of points that a convolution can be computed by; none where it can't.

    Kernels have 3x3 taps, or 2x2, in each remainder modulo the stride; there is no dilation, and
    one group.
    """
    stride, kernel = g.stride_y, g.kernel_height
    square = stride == g.stride_x and kernel == g.kernel_width
    if not square or g.pixel != g.channels or (g.dilation_y, g.dilation_x) != (1, 1):
        return ()
    if stride > 1 and g.channels % LANES:
        return ()  # the vectors of one remainder would overwrite those of the next
    return {3 * stride: (4, 6), 2 * stride: (5,)}.get(kernel, ())


def cost(g: Geometry, n: int, side: int) -> float:
    """Time of a forward pass by tiles of so many points (0: direct), in multiplications, measured.

    Padded channels count. Weights are brought into their order once, which costs 60 for each of
    their points; the two transforms of pictures cost more for each channel of a tile. Weights
    beyond what a cache holds come from memory again for every block.
    """
    c, k, taps = _whole_vectors(g.channels), _whole_vectors(g.filters), _taps(g)
    if not side:
        return (n * g.rows * g.columns + 60) * taps * g.channels * k
    remainders = g.stride_y * g.stride_x
    points, pairs = side * side, remainders * g.channels * k
    tiles, transforms = _tiles(g, n, side), _TRANSFORMS[side] * (remainders * c + k)
    again = 0
    if points * pairs > _CACHED:
        again = tiles // max(_WINOGRAD_TILES, _tiles_of_block(points, remainders * c))
    return tiles * (points * pairs + transforms) + (60 + 20 * again) * points * pairs


def gradient_side(g: Geometry, n: int) -> int:
    """The side of the tiles by which a weight gradient takes less time than direct; 0 if none."""
    side = max(sides(g), default=0)
    return side if side and _gradient_wins(g, n, side) else 0


def _gradient_wins(g: Geometry, n: int, side: int) -> bool:
    c, k = _whole_vectors(g.channels), _whole_vectors(g.filters)
    pairs, remainders, points = g.channels * k, g.stride_y * g.stride_x, side * side
    transforms = _GRADIENT_TRANSFORMS[side] * (remainders * c + k)
    fast = _tiles(g, n, side) * (points * remainders * pairs + transforms)
    return fast + 700 * remainders * pairs < n * g.rows * g.columns * _taps(g) * pairs


def _tiles_of_block(points: int, channels: int) -> int:
    return _WINOGRAD_BLOCK // (points * (channels + 2 * LANES))


def _taps(g: Geometry) -> int:
    return g.kernel_height * g.kernel_width


def _tiles(g: Geometry, n: int, side: int) -> int:
    size = winograd.OUTPUTS[side]
    return n * -(-g.rows // size) * -(-g.columns // size)


def _whole_vectors(channels: int) -> int:
    return -(-channels // LANES) * LANES


def _geometry(g: Geometry, side: int, tiles: int) -> winograd.Geometry:
    """Blocks of about so many tiles."""
    size = winograd.OUTPUTS[side]
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
        side=side,
        block=max(1, tiles // across, -(-_WINOGRAD_TILES // across)),
        stride=g.stride_y,
    )


def _window(g: winograd.Geometry, channels: int) -> int:
    """Values of a row of tiles' inputs."""
    columns = ((g.across - 1) * winograd.OUTPUTS[g.side] + g.side) * g.stride
    return g.side * columns * channels + LANES


def forward(direct: Geometry, n: int, side: int) -> Plan:
    """The plan of a forward pass, or of an input gradient, with tiles of so many points."""
    points, k = side * side, direct.filters
    c = direct.channels * direct.stride_y * direct.stride_x
    g = _geometry(direct, side, _tiles_of_block(points, c))
    rows = n * g.down
    work = n * g.rows * g.columns * c * k
    parts = max(1, min(MOST_CHUNKS, 4 * work // CHUNK, -(-rows // g.block)))
    # Blocks of one length: a small last one would read all transformed weights for a few tiles.
    each = -(-rows // parts)
    g = g._replace(block=-(-each // -(-each // g.block)))
    tiles = g.block * g.across
    tile = choose_tile(tiles, k)
    tiles = max(tiles, tile.rows)
    scratch = _window(g, g.channels)
    scratch += points * (winograd.odd_lines(tiles * c) + winograd.odd_lines(tiles * tile.panel))
    panels = -(-k // tile.panel)
    # Every group of panels transforms its input anew, which should not show.
    groups = 1 if parts >= 8 else min(panels, max(1, k // 96))
    weights = points * c * panels * tile.panel
    count = min(panels, _MOST_ROUNDS, -(-weights // _WEIGHT_POINTS))
    rounds = []
    for first, last in ranges(panels, count):
        shares = ranges(last - first, min(last - first, -(-groups // count)))
        chunks = tuple(Chunk(*b, *p) for b in ranges(rows, parts) for p in shares)
        rounds.append(Round(first, last, chunks))
    return Plan(direct, tile, panels, (), scratch, parts, g, tuple(rounds))


def weight_gradient(direct: Geometry, n: int, side: int) -> Plan:
    """The plan of a weight gradient, in the geometry of the forward pass.

    Each chunk has its rows of tiles, remainder modulo the stride, channels and filters, and its
    sums in its scratch.
    """
    c, k, points, remainders = direct.channels, direct.filters, side * side, direct.stride_y**2
    g = _geometry(direct, side, _GRADIENT_TILES)
    rows = n * g.down
    channels = ranges(c, -(-c // _GRADIENT_SIDE))
    tile = choose_tile(max(b - a for a, b in channels), min(k, _GRADIENT_SIDE), REGISTERS)
    panels = -(-k // tile.panel)
    groups = ranges(panels, -(-k // _GRADIENT_SIDE))
    filters = [(a * tile.panel, b * tile.panel) for a, b in groups]
    work = rows * g.across * points * remainders * c * k
    most = max(1, PARTS // (_taps(direct) * c * k))
    parts = max(1, min(MOST_CHUNKS, work // CHUNK, most, rows // g.block))
    g = g._replace(block=min(g.block, -(-rows // parts)))
    wide, high = (max(b - a for a, b in ranges) for ranges in (channels, filters))
    tiles = g.block * g.across
    scratch = _window(g, max(wide, high))
    scratch += points * sum(
        winograd.odd_lines(v) for v in (tiles * wide, tiles * high, wide * high)
    )
    chunks = tuple(
        TileChunk(*b, remainder, *i, *o)
        for b in ranges(rows, parts)
        for remainder in range(remainders)
        for i in channels
        for o in filters
    )
    return Plan(direct, tile, panels, chunks, scratch, parts, g)
