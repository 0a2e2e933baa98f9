"""Pooling over channels-last pictures: a vector of channels at a time, windows in registers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import RESULT, VALUES, chunks, like_pixels, pixels, run_chunks
from core.kernels.cpu.pool_tile import add_chosen, larger, load_chosen, lowest, store_bytes
from core.kernels.cpu.tile import add_store, clear, fma, load_part, store, zeros
from core.kernels.cpu.vector import (
    CHECKSUM,
    LANES,
)
from core.kernels.layout import channels_first, channels_last
from core.kernels.reference.pool import Pooling

_INT = types.int64
_BYTES = types.Array(types.uint8, 1, "C", readonly=True)


class Geometry(NamedTuple):
    """Every number that a kernel needs to know about one pooling."""

    height: int
    width: int
    channels: int
    rows: int  # of outputs
    columns: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    dilation_y: int
    dilation_x: int
    top: int
    left: int


_GEOMETRY = types.NamedUniTuple(types.int64, len(Geometry._fields), Geometry)


def max_pool(x: Array, pooling: Pooling) -> Array:
    """As the reference."""
    flat = pixels(x)
    if flat is None:
        return reference.max_pool(x, pooling)
    return _max_pool(flat, x.shape, pooling, positions=False)[0]


def max_pool_positions(x: Array, pooling: Pooling) -> tuple[Array, Array]:
    """As the reference."""
    flat = pixels(x)
    if flat is None or pooling.kernel[0] * pooling.kernel[1] > 256:
        return reference.max_pool_positions(x, pooling)
    return _max_pool(flat, x.shape, pooling, positions=True)


def max_pool_backward(
    gy: Array, positions: Array, size: tuple[int, ...], pooling: Pooling
) -> Array:
    """As the reference."""
    places = _bytes(positions)
    if places is None or gy.dtype != np.float32:
        return reference.max_pool_backward(gy, positions, size, pooling)
    g, flat, kernel = _geometry((*gy.shape[:2], *size), pooling), like_pixels(gy), _max_backward()
    gx = np.empty((gy.shape[0], *size, gy.shape[1]), np.float32)
    out = gx.reshape(-1)
    run_chunks(lambda a, b: kernel(flat, places, out, g, a, b), _bands(gx.size, gy.shape[0], g))
    return channels_first(gx)


def max_pool_indices(positions: Array, size: tuple[int, ...], pooling: Pooling) -> Array:
    """As the reference."""
    places = _bytes(positions)
    if places is None:
        return reference.max_pool_indices(positions, size, pooling)
    n, c, *outputs = positions.shape
    indices = np.empty((n, *outputs, c), np.int64)
    g, out, kernel = _geometry((n, c, *size), pooling), indices.reshape(-1), _indices()
    run_chunks(lambda a, b: kernel(places, out, g, a, b), chunks(indices.size, g.columns * c))
    return channels_first(indices)


def avg_pool(x: Array, pooling: Pooling, divisor: Array) -> Array:
    """As the reference."""
    flat = pixels(x)
    if flat is None:
        return reference.avg_pool(x, pooling, divisor)
    g, shares, kernel = _geometry(x.shape, pooling), _shares(divisor), _average()
    y = np.empty((x.shape[0], g.rows, g.columns, g.channels), np.float32)
    out = y.reshape(-1)
    run_chunks(lambda a, b: kernel(flat, shares, out, g, a, b), _rows(x.size, x.shape[0], g))
    return channels_first(y)


def avg_pool_backward(gy: Array, size: tuple[int, ...], pooling: Pooling, divisor: Array) -> Array:
    """As the reference."""
    flat = pixels(gy)
    if flat is None:
        return reference.avg_pool_backward(gy, size, pooling, divisor)
    g, shares = _geometry((*gy.shape[:2], *size), pooling), _shares(divisor)
    gx, kernel = np.empty((gy.shape[0], *size, gy.shape[1]), np.float32), _average_backward()
    out = gx.reshape(-1)
    run_chunks(lambda a, b: kernel(flat, shares, out, g, a, b), _bands(gx.size, gy.shape[0], g))
    return channels_first(gx)


def _max_pool(
    flat: np.ndarray, shape: tuple[int, ...], pooling: Pooling, positions: bool
) -> tuple[Array, Array]:
    g, kernel = _geometry(shape, pooling), _max()
    y = np.empty((shape[0], g.rows, g.columns, g.channels), np.float32)
    where = np.empty(y.shape if positions else (0,) * 4, np.uint8)
    out, bytes_ = y.reshape(-1), where.reshape(-1)
    parts = _rows(flat.size, shape[0], g)
    run_chunks(lambda a, b: kernel(flat, out, bytes_, g, positions, a, b), parts)
    return channels_first(y), channels_first(where)


def _geometry(shape: tuple[int, ...], pooling: Pooling) -> Geometry:
    (height, width), outputs = shape[2:], pooling.output_size(shape[2:])
    windows = (*pooling.kernel, *pooling.stride, *pooling.dilation, *pooling.padding)
    return Geometry(height, width, shape[1], *outputs, *windows)


def _rows(size: int, images: int, g: Geometry) -> list[tuple[int, int]]:
    """Chunks of rows of outputs, for a work of `size` values."""
    row = -(-size // (images * g.rows))
    return [(a // row, -(-b // row)) for a, b in chunks(row * images * g.rows, row)]


def _bands(size: int, images: int, g: Geometry) -> list[tuple[int, int]]:
    """As `_rows`, of which no two write the same inputs."""
    if g.dilation_y * (g.kernel_height - 1) < g.stride_y:
        return _rows(size, images, g)
    return [(a * g.rows, b * g.rows) for a, b in _rows(size, images, g._replace(rows=1))]


def _shares(divisor: Array) -> np.ndarray:
    return (1 / divisor).astype(np.float32).reshape(-1)


def _bytes(positions: Array) -> np.ndarray | None:
    last = channels_last(positions)
    usable = positions.dtype == np.uint8 and last.flags.c_contiguous and positions.size > 0
    return last.reshape(-1) if usable else None


# ---------------------------------------------------------------------------- kernels


@cache
def _max() -> Callable[..., None]:
    return _make_max(LANES, CHECKSUM)


def _make_max(lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(VALUES, RESULT, types.uint8[::1], _GEOMETRY, types.boolean, _INT, _INT),
        cache=True,
        nogil=True,
    )
    def kernel(x, y, positions, g, keep, first, last):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        for unit in range(first, last):
            image, row = unit // g.rows, unit % g.rows
            above = row * g.stride_y - g.top
            ky0 = max(0, -(above // g.dilation_y))
            ky1 = min(g.kernel_height, -((above - g.height) // g.dilation_y))
            for column in range(g.columns):
                left = column * g.stride_x - g.left
                kx0 = max(0, -(left // g.dilation_x))
                kx1 = min(g.kernel_width, -((left - g.width) // g.dilation_x))
                target = (unit * g.columns + column) * g.channels
                corner = ((image * g.height + above) * g.width + left) * g.channels
                for c in range(0, g.channels, lanes):
                    count = g.channels - c
                    best = lowest(ky0 * g.kernel_width + kx0)
                    for ky in range(ky0, ky1):
                        line = corner + ky * g.dilation_y * g.width * g.channels + c
                        for kx in range(kx0, kx1):
                            place = line + kx * g.dilation_x * g.channels
                            best = larger(best, x, place, count, ky * g.kernel_width + kx)
                    store(y, target + c, 0, (best[0],), 1, count)
                    if keep:
                        store_bytes(positions, target + c, best[1], count)

    return kernel


@cache
def _max_backward() -> Callable[..., None]:
    return _make_max_backward(LANES, CHECKSUM)


def _make_max_backward(lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(VALUES, _BYTES, RESULT, _GEOMETRY, _INT, _INT),
        cache=True,
        nogil=True,
    )
    def kernel(gy, positions, gx, g, first, last):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        cleared = 0
        for unit in range(first, last):
            image, row = unit // g.rows, unit % g.rows
            above = row * g.stride_y - g.top
            ky0 = max(0, -(above // g.dilation_y))
            ky1 = min(g.kernel_height, -((above - g.height) // g.dilation_y))
            # Inputs up to where this row of windows ends, or the next one begins.
            if row == 0:
                cleared = 0
            elif unit == first:
                cleared = min(g.height, above)
            end = above + max(g.stride_y, (g.kernel_height - 1) * g.dilation_y + 1)
            end = g.height if row == g.rows - 1 else max(cleared, min(g.height, end))
            length = g.width * g.channels
            clear(gx, (image * g.height + cleared) * length, (end - cleared) * length)
            cleared = end
            for column in range(g.columns):
                left = column * g.stride_x - g.left
                kx0 = max(0, -(left // g.dilation_x))
                kx1 = min(g.kernel_width, -((left - g.width) // g.dilation_x))
                source = (unit * g.columns + column) * g.channels
                corner = ((image * g.height + above) * g.width + left) * g.channels
                for c in range(0, g.channels, lanes):
                    count = g.channels - c
                    pair = load_chosen(gy, positions, source + c, count)
                    for ky in range(ky0, ky1):
                        line = corner + ky * g.dilation_y * g.width * g.channels + c
                        for kx in range(kx0, kx1):
                            place = line + kx * g.dilation_x * g.channels
                            add_chosen(gx, place, pair, count, ky * g.kernel_width + kx)

    return kernel


@cache
def _average() -> Callable[..., None]:
    return _make_average(LANES, CHECKSUM)


def _make_average(lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(VALUES, VALUES, RESULT, _GEOMETRY, _INT, _INT),
        cache=True,
        nogil=True,
    )
    def kernel(x, shares, y, g, first, last):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        for unit in range(first, last):
            image, row = unit // g.rows, unit % g.rows
            above = row * g.stride_y - g.top
            ky0, ky1 = max(0, -above), min(g.kernel_height, g.height - above)
            for column in range(g.columns):
                left = column * g.stride_x - g.left
                kx0, kx1 = max(0, -left), min(g.kernel_width, g.width - left)
                target = (unit * g.columns + column) * g.channels
                corner = ((image * g.height + above) * g.width + left) * g.channels
                share = row * g.columns + column
                for c in range(0, g.channels, lanes):
                    count = g.channels - c
                    sums = zeros(1, 1)
                    for ky in range(ky0, ky1):
                        for kx in range(kx0, kx1):
                            place = corner + (ky * g.width + kx) * g.channels + c
                            sums = fma(sums, shares, share, 0, load_part(x, place, 1, count))
                    store(y, target + c, 0, sums, 1, count)

    return kernel


@cache
def _average_backward() -> Callable[..., None]:
    return _make_average_backward(LANES, CHECKSUM)


def _make_average_backward(lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(VALUES, VALUES, RESULT, _GEOMETRY, _INT, _INT),
        cache=True,
        nogil=True,
    )
    def kernel(gy, shares, gx, g, first, last):  # type: ignore[no-untyped-def]
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        cleared = 0
        for unit in range(first, last):
            image, row = unit // g.rows, unit % g.rows
            above = row * g.stride_y - g.top
            ky0, ky1 = max(0, -above), min(g.kernel_height, g.height - above)
            if row == 0:
                cleared = 0
            elif unit == first:
                cleared = min(g.height, above)
            end = above + max(g.stride_y, g.kernel_height)
            end = g.height if row == g.rows - 1 else max(cleared, min(g.height, end))
            length = g.width * g.channels
            clear(gx, (image * g.height + cleared) * length, (end - cleared) * length)
            cleared = end
            for column in range(g.columns):
                left = column * g.stride_x - g.left
                kx0, kx1 = max(0, -left), min(g.kernel_width, g.width - left)
                source = (unit * g.columns + column) * g.channels
                corner = ((image * g.height + above) * g.width + left) * g.channels
                share = row * g.columns + column
                for c in range(0, g.channels, lanes):
                    count = g.channels - c
                    part = load_part(gy, source + c, 1, count)
                    part = fma(zeros(1, 1), shares, share, 0, part)
                    for ky in range(ky0, ky1):
                        for kx in range(kx0, kx1):
                            place = corner + (ky * g.width + kx) * g.channels + c
                            add_store(gx, place, 0, part, 1, count, 0)

    return kernel


@cache
def _indices() -> Callable[..., None]:
    @njit(
        types.void(_BYTES, types.int64[::1], _GEOMETRY, _INT, _INT),
        cache=True,
        nogil=True,
    )
    def kernel(positions, indices, g, start, stop):  # type: ignore[no-untyped-def]
        taps = np.empty(g.kernel_height * g.kernel_width, np.int64)
        for ky in range(g.kernel_height):
            for kx in range(g.kernel_width):
                place = ky * g.dilation_y * g.width + kx * g.dilation_x
                taps[ky * g.kernel_width + kx] = place
        for pixel in range(start // g.channels, stop // g.channels):
            row, column = pixel // g.columns % g.rows, pixel % g.columns
            above, left = row * g.stride_y - g.top, column * g.stride_x - g.left
            corner = above * g.width + left
            begin = pixel * g.channels
            target = indices[begin : begin + g.channels]
            where = positions[begin : begin + g.channels]
            for c in range(g.channels):
                target[c] = corner + taps[where[c]]

    return kernel
