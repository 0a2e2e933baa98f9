"""How a convolution is cut up: the register tile, blocks for the cache, chunks for threads.

Everything here follows from shapes and the processor alone, never from the number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from core.kernels.cpu import winograd_plan
from core.kernels.cpu.cut import (
    CHUNK,
    MOST_CHUNKS,
    PARTS,
    ROWS,
    Chunk,
    Plan,
    Tile,
    WeightChunk,
    choose_tile,
    ranges,
)
from core.kernels.cpu.direct import Geometry
from core.kernels.cpu.vector import LANES
from core.kernels.reference.conv import Window

# Values of input in one block of rows: a quarter of a megabyte, to share an L2 cache with weights.
_BLOCK = 1 << 16
# Values of input in one block of a weight gradient, its pixels, and channels in a slice.
_WEIGHT_BLOCK = 1 << 17
_PIXELS = 256
_SLICE = 32


@lru_cache(maxsize=1024)
def forward(
    shape: tuple[int, ...], weight: tuple[int, ...], window: Window, activation: bool
) -> Plan:
    """The plan of `convolve` for an input (N, C, H, W) and a weight (K, C / groups, kh, kw).

    It is that of the first group; `of_group` moves it to another one.
    """
    return _best(_geometry(shape, weight, window, activation), shape[0])


def _geometry(
    shape: tuple[int, ...], weight: tuple[int, ...], window: Window, activation: bool = False
) -> Geometry:
    rows, columns = window.output_size(shape[2:], weight[2:])
    filters = weight[0]
    return Geometry(
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
    g, n = _geometry(shape, weight, window), shape[0]
    if side := winograd_plan.gradient_side(g, n):
        return winograd_plan.weight_gradient(g, n, side)
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
    chunks = max(1, min(MOST_CHUNKS, work // CHUNK))
    parts = max(1, min(chunks // slices, blocks, PARTS // math.prod(weight)))
    groups = min(panels, -(-chunks // (parts * slices)), max(1, g.filters // 128))
    return Plan(
        g,
        tile,
        panels,
        tuple(
            WeightChunk(*b, *p, *s)
            for b in ranges(blocks, parts)
            for p in ranges(panels, groups)
            for s in ranges(slices, slices)
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
    g = _geometry(shape, weight, window)
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
    chunks, parts = _chunks(g, shape[0] * blocks, 1, shape[0], MOST_CHUNKS)
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
    """Winograd's algorithm where it applies and takes less time than the direct one."""
    side = min((0, *winograd_plan.sides(g)), key=lambda side: winograd_plan.cost(g, n, side))
    if side:
        return winograd_plan.forward(g, n, side)
    return _planned(g, n, choose_tile(g.columns, g.filters))


def _planned(g: Geometry, n: int, tile: Tile) -> Plan:
    g = _blocked(g, _BLOCK)
    panels = -(-g.filters // tile.panel)
    scratch = g.gathered * _span(g, g.block_rows) * g.line
    chunks, parts = _chunks(g, n * g.blocks, panels, n, MOST_CHUNKS)
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
    tile = Tile(min(g.columns, ROWS), 1)
    scratch = g.gathered * _span(g, g.block_rows) * g.line
    # Vectors of channels are short of work: half a multiplication for each value that is read.
    work = 4 * n * g.rows * g.columns * g.kernel_height * g.kernel_width * g.channels
    parts = max(1, min(MOST_CHUNKS, work // CHUNK, n * g.blocks))
    chunks = tuple(Chunk(*b, 0, 1) for b in ranges(n * g.blocks, parts))
    return Plan(g, tile, 1, chunks, scratch, parts)


def _chunks(
    g: Geometry, blocks: int, panels: int, n: int, most: int, most_groups: int = MOST_CHUNKS
) -> tuple[tuple[Chunk, ...], int]:
    taps = g.kernel_height * g.kernel_width * g.channels
    work = n * g.rows * g.columns * taps * panels * LANES
    wanted = max(1, min(MOST_CHUNKS, work // CHUNK))
    parts = min(wanted, blocks, most)
    groups = min(panels, -(-wanted // parts), most_groups)
    chunks = [Chunk(*b, *p) for b in ranges(blocks, parts) for p in ranges(panels, groups)]
    return tuple(chunks), parts
