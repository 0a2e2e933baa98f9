"""Pooling of regions of interest over channels-last pictures; gradients are gathered."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import replay
from core.device import Array, array_module
from core.kernels.cuda.launch import THREADS, Source, aligned, struct
from core.kernels.cuda.pool import over_rows
from core.kernels.layout import as_layout_of, channels_first, to_channels_last
from core.kernels.reference import region as reference
from core.kernels.reference.region import Edges

_SOURCE = Source("region.cu")
_BOX = 4  # numbers


def region_max(x: Array, image: np.ndarray, rows: Edges, columns: Edges) -> tuple[Array, Array]:
    """See the reference; `places` are int32."""
    module, pictures = array_module(x), to_channels_last(x)
    bins = rows[0].shape[1], columns[0].shape[1]
    y = module.empty((len(image), *bins, x.shape[1]), x.dtype)
    places = module.empty(y.shape, np.int32)
    table = np.concatenate([t.reshape(-1) for t in (image, *rows, *columns)])
    _over_bins("maxima", y, x.shape, _on_card(module, table), pictures, y, places)
    return as_layout_of(channels_first(y), x), places


def region_max_backward(
    gy: Array, places: Array, image: np.ndarray, shape: tuple[int, ...]
) -> Array:
    """See the reference."""
    module, gy = array_module(gy), to_channels_last(gy)
    places = module.ascontiguousarray(places.astype(np.int32, copy=False))
    gx, bins = _new(gy, shape), len(image) * gy.shape[1] * gy.shape[2]
    boxes = module.empty((bins, _BOX), np.int32)
    if bins:
        g = _regions(shape, gy.shape, shape[1])
        blocks = -(-bins * 32 // THREADS)
        _SOURCE.launch(
            "place_boxes", gy, blocks, THREADS, g, _on_card(module, image), places, boxes
        )
    _over_pixels("maxima_backward", gy, shape, boxes, gy, places, gx)
    return channels_first(gx)


def region_align(x: Array, image: np.ndarray, rows: Array, columns: Array) -> Array:
    """See the reference."""
    if not rows.dtype == columns.dtype == x.dtype:
        return reference.region_align(x, image, rows, columns)
    module, pictures = array_module(x), to_channels_last(x)
    rows, columns = module.ascontiguousarray(rows), module.ascontiguousarray(columns)
    y = module.empty((len(image), rows.shape[1], columns.shape[1], x.shape[1]), x.dtype)
    images = _on_card(module, image)
    ranges, _ = _ranges(y, x.shape, images, rows, columns)
    _over_bins("means", y, x.shape, images, rows, columns, ranges, pictures, y)
    return as_layout_of(channels_first(y), x)


def region_align_backward(
    gy: Array, image: np.ndarray, rows: Array, columns: Array, shape: tuple[int, ...]
) -> Array:
    """See the reference."""
    if not rows.dtype == columns.dtype == gy.dtype:
        return reference.region_align_backward(gy, image, rows, columns, shape)
    module, gy = array_module(gy), to_channels_last(gy)
    rows, columns = module.ascontiguousarray(rows), module.ascontiguousarray(columns)
    _, boxes = _ranges(gy, shape, _on_card(module, image), rows, columns)
    gx = _new(gy, shape)
    _over_pixels("means_backward", gy, shape, boxes, rows, columns, gy, gx)
    return channels_first(gx)


def _ranges(
    bins: Array, shape: tuple[int, ...], images: Array, rows: Array, columns: Array
) -> tuple[Array, Array]:
    """Where the weights of each row and column of bins are not zero, and each region's box."""
    module, count = array_module(bins), len(bins)
    ranges = module.empty((count, bins.shape[1] + bins.shape[2], 2), np.int32)
    boxes = module.empty((count, _BOX), np.int32)
    if count:
        arguments = (_regions(shape, bins.shape, shape[1]), images, rows, columns, ranges, boxes)
        _SOURCE.launch("weight_ranges", bins, count, THREADS, *arguments)
    return ranges, boxes


def _over_bins(kernel: str, bins: Array, shape: tuple[int, ...], *args: Any) -> None:
    """Run a kernel over bins (K, h, w, C) of regions of pictures of `shape`."""
    kernel, channels = _width(kernel, bins)
    rows, width = bins.shape[0] * bins.shape[1], bins.shape[2] * channels
    over_rows(_SOURCE, kernel, bins, rows, width, _regions(shape, bins.shape, channels), *args)


def _over_pixels(kernel: str, bins: Array, shape: tuple[int, ...], *args: Any) -> None:
    """Run a kernel with one block, or some, for each pixel of pictures of `shape`."""
    kernel, channels = _width(kernel, bins)
    pixels = shape[0] * shape[2] * shape[3]
    if pixels and channels:
        block = min(THREADS, -(-channels // 32) * 32)
        grid = (pixels, -(-channels // block))
        _SOURCE.launch(kernel, bins, grid, block, _regions(shape, bins.shape, channels), *args)


def _width(kernel: str, x: Array) -> tuple[str, int]:
    """The kernel for the channels of x (..., C), and how many threads they are."""
    lanes, channels = 16 // x.dtype.itemsize, x.shape[-1]
    if channels % lanes or not aligned(x):
        return f"{kernel}_values", channels
    return f"{kernel}_packs", channels // lanes


def _regions(shape: tuple[int, ...], bins: tuple[int, ...], channels: int) -> Any:
    """The struct of the sizes of pictures (N, C, H, W) and of bins (K, h, w, C)."""
    return struct((shape[0], shape[2], shape[3], channels, *bins[:3]), np.int32)


def _new(like: Array, shape: tuple[int, ...]) -> Array:
    """A new array (N, H, W, C) for pictures of `shape`."""
    return array_module(like).empty((shape[0], *shape[2:], shape[1]), like.dtype)


def _on_card(module: Any, table: np.ndarray) -> Array:
    replay.need_no_recording()
    return module.asarray(table.astype(np.int32))
