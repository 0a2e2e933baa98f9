"""How a convolution is cut up: the register tile, blocks for the cache, chunks for threads.

Everything here follows from shapes and the processor alone, never from the number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from core.kernels.cpu.direct import Geometry
from core.kernels.cpu.vector import LANES, REGISTERS
from core.kernels.cpu.winograd import odd_lines
from core.kernels.reference.conv import Window

# Values of input in one block of rows: a quarter of a megabyte, to share an L2 cache with weights.
_BLOCK = 1 << 16
# Values of Winograd's intermediates in one block: a megabyte.
_WINOGRAD_BLOCK = 1 << 18
# Multiplications in one chunk: about 50 microseconds, so that handing it over does not show.
_CHUNK = 1 << 22
_MOST_CHUNKS = 32
# Values of all partial weight gradients together.
_PARTS = 1 << 20
# Values of input in one block of a weight gradient, its pixels, and channels in a slice.
_WEIGHT_BLOCK = 1 << 17
_PIXELS = 256
_SLICE = 32
# The tallest tile: more rows of a power of two values each would meet in one cache set.
_ROWS = 14
# Fewer sums than this in flight leave the multipliers waiting for each other.
_LATENCY = 10


class Tile(NamedTuple):
    """Accumulators of a kernel: `rows` x `columns` vectors."""

    rows: int
    columns: int

    @property
    def panel(self) -> int:
        """Filters that one tile computes."""
        return self.columns * LANES


class Chunk(NamedTuple):
    """A share of the work: blocks and panels, each first and behind the last."""

    block0: int
    block1: int
    panel0: int
    panel1: int


class WeightChunk(NamedTuple):
    """A share of a weight gradient: blocks, panels and slices."""

    block0: int
    block1: int
    panel0: int
    panel1: int
    slice0: int
    slice1: int


class Plan(NamedTuple):
    """All that a kernel is called with besides arrays."""

    geometry: Geometry
    tile: Tile
    panels: int
    chunks: tuple[Chunk, ...] | tuple[WeightChunk, ...]
    scratch: int
    parts: int  # ranges of blocks; chunks of different ones may not write the same sums
    winograd: bool = False


def choose_tile(extent: int, filters: int) -> Tile:
    """The tile that covers extent x filters with the least work, the largest among equals."""
    tiles = (
        Tile(rows, columns)
        for columns in range(1, 5)
        for rows in range(1, min(extent, _ROWS) + 1)
        if rows * columns + columns + 1 <= REGISTERS
    )

    def cost(tile: Tile) -> tuple[float, int]:
        count = -(-extent // tile.rows) * -(-filters // tile.panel)
        size = tile.rows * tile.columns
        return count * (max(size, _LATENCY) + (tile.rows + tile.columns) / 4 + 1), -size

    return min(tiles, key=cost)


@lru_cache(maxsize=1024)
def forward(
    shape: tuple[int, ...], weight: tuple[int, ...], window: Window, activation: bool
) -> Plan:
    """The plan of `convolve` for an input (N, C, H, W) and a weight (K, C / groups, kh, kw).

    It is that of the first group; `of_group` moves it to another one.
    """
    rows, columns = window.output_size(shape[2:], weight[2:])
    filters = weight[0]
    geometry = Geometry(
        height=shape[2],
        width=shape[3],
        channels=weight[1],
        rows=rows,
        columns=columns,
        filters=filters // window.groups,
        kernel_height=weight[2],
        kernel_width=weight[3],
        stride_y=window.stride[0],
        stride_x=window.stride[1],
        dilation_y=window.dilation[0],
        dilation_x=window.dilation[1],
        top=window.padding[0],
        left=window.padding[1],
        y_start=0,
        y_image=rows * columns * filters,
        y_row=columns * filters,
        y_pixel=filters,
        relu=int(activation),
        pixel=shape[1],
    )
    return _best(geometry, shape[0])


def of_group(g: Geometry, group: int) -> Geometry:
    """The geometry of a group's convolution, from that of the first one."""
    if not group:
        return g
    x_start = g.x_start + group * g.channels * g.slices
    return g._replace(x_start=x_start, y_start=g.y_start + group * g.filters)


@lru_cache(maxsize=1024)
def weight_gradient(shape: tuple[int, ...], weight: tuple[int, ...], window: Window) -> Plan:
    """The plan of `convolve_weight_gradient`, in the geometry of the forward pass.

    The sums of a tile are in registers while a block's pixels pass by, and are written once for
    each block: narrow pictures are taken several at a time, many channels in slices, so that
    a block has enough pixels and its inputs still fit the cache.
    """
    geometry = forward(shape, weight, window, False).geometry._replace(gathered=0)
    g, n = geometry, shape[0]
    pixels, channels = g.rows * g.columns, g.channels
    picture = _span(g, g.rows) * _reach(g)
    wanted = min(n * pixels, _PIXELS)
    slices = 1
    while (
        channels % 2 == 0
        and channels // slices >= 2 * _SLICE
        and channels % (2 * slices) == 0
        and picture * (channels // slices) * wanted > _WEIGHT_BLOCK * pixels
    ):
        slices *= 2
    channels //= slices
    g = _blocked(g._replace(channels=channels, slices=slices), _WEIGHT_BLOCK)
    if g.blocks == 1:
        room = max(1, min(_WEIGHT_BLOCK // (picture * channels), -(-wanted // pixels)))
        g = g._replace(pictures=-(-n // -(-n // room)))
    g = g._replace(images=n)
    length = channels if window.dilation[1] > 1 or slices > 1 else channels * weight[3]
    tile = choose_tile(length, g.filters)
    panels = -(-g.filters // tile.panel)
    packed = g.pictures * g.block_rows * g.columns * tile.panel
    scratch = g.gathered * g.pictures * _span(g, g.block_rows) * g.line + packed
    blocks = -(-n // g.pictures) * g.blocks
    work = n * pixels * math.prod(weight[1:]) * panels * LANES
    chunks = max(1, min(_MOST_CHUNKS, work // _CHUNK))
    parts = max(1, min(chunks // slices, blocks, _PARTS // math.prod(weight)))
    groups = min(panels, -(-chunks // (parts * slices)), max(1, g.filters // 128))
    return Plan(
        g,
        tile,
        panels,
        tuple(
            WeightChunk(*b, *p, *s)
            for b in _ranges(blocks, parts)
            for p in _ranges(panels, groups)
            for s in _ranges(slices, slices)
        ),
        scratch,
        parts,
    )


class Phase(NamedTuple):
    """Input positions of equal remainder modulo the stride: for them the input gradient is a
    convolution of gy, stride 1, with some of the kernel's positions, in reverse order."""

    plan: Plan
    taps: tuple[int, ...]


@lru_cache(maxsize=1024)
def input_gradient(
    shape: tuple[int, ...], weight: tuple[int, ...], window: Window
) -> tuple[Phase, ...]:
    """The plans of `convolve_input_gradient` for an input (N, C, H, W)."""
    n, channels, height, width = shape
    size = window.output_size((height, width), weight[2:])
    axes = [
        list(_phases(extent, *numbers))
        for extent, *numbers in zip(
            (height, width),
            weight[2:],
            window.stride,
            window.dilation,
            window.padding,
            strict=True,
        )
    ]
    phases = []
    for y, x in itertools.product(*axes):
        geometry = Geometry(
            height=size[0],
            width=size[1],
            channels=weight[0] // window.groups,
            rows=y.number,
            columns=x.number,
            filters=weight[1],
            kernel_height=len(y.taps),
            kernel_width=len(x.taps),
            stride_y=1,
            stride_x=1,
            dilation_y=y.dilation,
            dilation_x=x.dilation,
            top=y.before,
            left=x.before,
            y_start=(y.first * width + x.first) * channels,
            y_image=height * width * channels,
            y_row=window.stride[0] * width * channels,
            y_pixel=window.stride[1] * channels,
            pixel=weight[0],
        )
        taps = tuple(i * weight[3] + j for i in y.taps for j in x.taps)
        phases.append(Phase(_best(geometry, n), taps))
    return tuple(phases)


@lru_cache(maxsize=1024)
def scattered(shape: tuple[int, ...], weight: tuple[int, ...], window: Window) -> Plan | None:
    """The plan of `scatter` for an input (N, C, H, W), in the geometry of the forward pass.

    None where it would not halve the work, that is where channels fill most of a vector.
    """
    g = forward(shape, weight, window, False).geometry
    taps, outputs = math.prod(weight[2:]), math.prod(weight[1:])
    halves = 2 * -(-outputs // LANES) <= taps * -(-weight[1] // LANES)
    if window.groups > 1 or g.dilation_x > 1 or weight[0] < LANES or not halves:
        return None
    tile = choose_tile(g.columns, outputs)
    panels = -(-outputs // tile.panel)
    # Rows of gy that fit a block, and the rows of gx that see no other.
    room = max(1, _BLOCK // (g.columns * panels * tile.panel)) * g.stride_y - _span(g, 1) + 1
    block_rows = max(g.stride_y, min(g.height, room))
    blocks = -(-g.height // block_rows)
    block_rows = -(-g.height // blocks)
    seen = min(g.rows, (block_rows + _span(g, 1) - 2) // g.stride_y + 1)
    line = max(_reach(g), g.left + g.width) * g.channels
    g = g._replace(line=line, block_rows=block_rows, blocks=blocks)
    scratch = seen * g.columns * panels * tile.panel + line
    chunks, parts = _chunks(g, shape[0] * blocks, 1, shape[0], _MOST_CHUNKS)
    return Plan(g, tile, panels, chunks, scratch, parts)


class _AxisPhase(NamedTuple):
    """One remainder along one axis: input positions first, first + stride, ..."""

    first: int
    number: int
    taps: tuple[int, ...]
    dilation: int
    before: int  # zeros before gy


def _phases(
    extent: int, kernel: int, stride: int, dilation: int, padding: int
) -> Iterator[_AxisPhase]:
    """i + padding = o * stride + tap * dilation, solved for o; stride or dilation is 1."""
    for remainder in range(stride):
        quotient = max(0, -((remainder - padding) // stride))
        first = quotient * stride + remainder - padding
        number = -(-(extent - first) // stride)
        if number < 1:
            continue
        taps = tuple(range(kernel))[remainder::stride][::-1]
        yield _AxisPhase(first, number, taps, dilation, (len(taps) - 1) * dilation - quotient)


def _best(g: Geometry, n: int) -> Plan:
    """Winograd's algorithm where it applies and takes less time than the direct one.

    Counted in multiplications; the two transforms of pictures cost about 700 for each tile and
    channel, that of the weight about 720 for each pair of channels (measured).
    """
    applies = (
        g.pixel == g.channels
        and (g.kernel_height, g.kernel_width) == (3, 3)
        and g.stride_y == g.stride_x == g.dilation_y == g.dilation_x == 1
        and g.channels % LANES == g.filters % LANES == 0
    )
    tiles = n * -(-g.rows // 4) * -(-g.columns // 4)
    pairs = g.channels * g.filters
    direct = n * g.rows * g.columns * 9 * pairs
    if applies and tiles * (36 * pairs + 700 * (g.channels + g.filters)) + 720 * pairs < direct:
        return _winograd(g, n)
    return _planned(g, n, choose_tile(g.columns, g.filters))


def _winograd(g: Geometry, n: int) -> Plan:
    down, across = -(-g.rows // 4), -(-g.columns // 4)
    each = 36 * (g.channels + 2 * LANES)  # values of intermediates for one tile
    # Fewer tiles than the first number would read the transformed weights too often.
    wanted = max(14, _WINOGRAD_BLOCK // each)
    block = min(down, max(1, wanted // across, -(-14 // across)))
    blocks = -(-down // block)
    block = -(-down // blocks)
    tile = choose_tile(block * across, g.filters)
    line = (4 * across + 2) * g.channels
    g = g._replace(gathered=1, line=line, block_rows=4 * block, blocks=blocks)
    tiles = max(block * across, tile.rows)
    scratch = (4 * block + 2) * line + 40 * LANES
    scratch += 36 * (odd_lines(tiles * g.channels) + odd_lines(tiles * tile.panel))
    panels = -(-g.filters // tile.panel)
    # Every group of panels transforms its input anew, which should not show.
    groups = max(1, g.filters // 96)
    chunks, parts = _chunks(g, n * blocks, panels, n, _MOST_CHUNKS, groups)
    return Plan(g, tile, panels, chunks, scratch, parts, winograd=True)


def _planned(g: Geometry, n: int, tile: Tile) -> Plan:
    g = _blocked(g, _BLOCK)
    panels = -(-g.filters // tile.panel)
    scratch = g.gathered * _span(g, g.block_rows) * g.line
    chunks, parts = _chunks(g, n * g.blocks, panels, n, _MOST_CHUNKS)
    return Plan(g, tile, panels, chunks, scratch, parts)


def _blocked(g: Geometry, values: int) -> Geometry:
    """Blocks of rows with so many values of input, gathered where padding hangs over or other
    channels lie between."""
    outside = g.top or g.left or _span(g, g.rows) > g.height or _reach(g) > g.width
    outside = outside or g.pixel > g.channels
    gathered = int(bool(outside and g.kernel_height * g.kernel_width))
    line = (_reach(g) if gathered else g.width) * g.channels
    span = _span(g, 1)
    block_rows = max(1, min(g.rows, (values // line - span) // g.stride_y + 1))
    blocks = -(-g.rows // block_rows)
    return g._replace(gathered=gathered, line=line, block_rows=-(-g.rows // blocks), blocks=blocks)


def _span(g: Geometry, rows: int) -> int:
    """Rows of input that so many rows of outputs see."""
    return (rows - 1) * g.stride_y + (g.kernel_height - 1) * g.dilation_y + 1


def _reach(g: Geometry) -> int:
    """Columns of input that a row of outputs sees."""
    return (g.columns - 1) * g.stride_x + (g.kernel_width - 1) * g.dilation_x + 1


def depthwise(g: Geometry, n: int) -> Plan:
    """The plan of a convolution with one channel in each group, in the geometry of that group."""
    g = _blocked(g._replace(channels=g.pixel, filters=g.pixel), _BLOCK)
    tile = Tile(min(g.columns, _ROWS), 1)
    scratch = g.gathered * _span(g, g.block_rows) * g.line
    # Vectors of channels are short of work: half a multiplication for each value that is read.
    work = 4 * n * g.rows * g.columns * g.kernel_height * g.kernel_width * g.channels
    parts = max(1, min(_MOST_CHUNKS, work // _CHUNK, n * g.blocks))
    chunks = tuple(Chunk(*b, 0, 1) for b in _ranges(n * g.blocks, parts))
    return Plan(g, tile, 1, chunks, scratch, parts)


def _chunks(
    g: Geometry, blocks: int, panels: int, n: int, most: int, most_groups: int = _MOST_CHUNKS
) -> tuple[tuple[Chunk, ...], int]:
    taps = g.kernel_height * g.kernel_width * g.channels
    work = n * g.rows * g.columns * taps * panels * LANES
    wanted = max(1, min(_MOST_CHUNKS, work // _CHUNK))
    parts = min(wanted, blocks, most)
    groups = min(panels, -(-wanted // parts), most_groups)
    chunks = [Chunk(*b, *p) for b in _ranges(blocks, parts) for p in _ranges(panels, groups)]
    return tuple(chunks), parts


def _ranges(count: int, parts: int) -> list[tuple[int, int]]:
    edges = [count * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))
