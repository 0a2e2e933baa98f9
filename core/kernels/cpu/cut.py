"""What every plan is made of: the register tile, chunks for threads."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from core.kernels.cpu.direct import Geometry
from core.kernels.cpu.vector import LANES, REGISTERS
from core.kernels.cpu.winograd import Geometry as WinogradGeometry

# Multiplications in one chunk: about 50 microseconds, so that handing it over does not show.
CHUNK = 1 << 22
MOST_CHUNKS = 32
# Values of all partial weight gradients together.
PARTS = 1 << 20
# The tallest tile: more rows of a power of two values each would meet in one cache set.
ROWS = 14
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


class TileChunk(NamedTuple):
    """A share of Winograd's weight gradient: rows of tiles, a remainder, channels and filters."""

    block0: int
    block1: int
    remainder: int
    channel0: int
    channel1: int
    filter0: int
    filter1: int


class Round(NamedTuple):
    """Panels whose points are in memory together, and the chunks that count them from the first."""

    panel0: int
    panel1: int
    chunks: tuple[Chunk, ...]


class Plan(NamedTuple):
    """All that a kernel is called with besides arrays."""

    geometry: Geometry
    tile: Tile
    panels: int
    chunks: tuple[Chunk, ...] | tuple[WeightChunk, ...] | tuple[TileChunk, ...]
    scratch: int
    parts: int  # ranges of blocks; chunks of different ones may not write the same sums
    winograd: WinogradGeometry | None = None  # instead of `geometry`, where it is used
    rounds: tuple[Round, ...] = ()  # of its forward pass, instead of `chunks`


def choose_tile(extent: int, filters: int, most_rows: int = ROWS) -> Tile:
    """The tile that covers extent x filters with the least work, the largest among equals."""
    tiles = (
        Tile(rows, columns)
        for columns in range(1, 5)
        for rows in range(1, min(extent, most_rows) + 1)
        if rows * columns + columns + 1 <= REGISTERS
    )

    def cost(tile: Tile) -> tuple[float, int]:
        count = -(-extent // tile.rows) * -(-filters // tile.panel)
        size = tile.rows * tile.columns
        return count * (max(size, _LATENCY) + (tile.rows + tile.columns) / 4 + 1), -size

    return min(tiles, key=cost)


def ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """So many things in consecutive parts: the first of each, and the one behind its last."""
    edges = [count * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))
