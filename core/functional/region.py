"""Pooling of regions of interest, torchvision's names and meanings.

Boxes are x1, y1, x2, y2 in the picture's pixels; `spatial_scale` brings them to the feature
map (1 / 16 where sixteen pixels became one). They get no gradient, and are read on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core import device as dev
from core import kernels
from core.device import Array
from core.functional.operands import array_of, need_float, pair, tensor_of
from core.kernels.reference.region import bin_edges, sample_weights
from core.tensor import Tensor, record

# Samples along a region, of one for each pixel: no feature map is so wide.
_MOST_SAMPLES = 1 << 20


def roi_pool(input: Any, boxes: Any, output_size: Any, spatial_scale: float = 1.0) -> Tensor:
    """The largest value of each of `output_size` bins of each region (Girshick 2015, 2.1).

    input (N, C, H, W); boxes (K, 5) with the picture's number first, or for each picture one
    array (n, 4); the result is (K, C, *output_size). Box ends are rounded to whole pixels,
    which both belong to the region; empty bins are 0. Raises ValueError for boxes of another
    shape, and for numbers of pictures that are not there.
    """
    name = "roi_pool"
    x, image, ends, size = _regions(name, input, boxes, output_size, spatial_scale)
    rows = bin_edges(ends[:, 1], ends[:, 3], size[0], x.shape[2])
    columns = bin_edges(ends[:, 0], ends[:, 2], size[1], x.shape[3])
    y, places = kernels.of(x.data).region_max(x.data, image, rows, columns)
    shape = x.shape

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).region_max_backward(gy, places, image, shape),)

    return record(y, (x,), backward)


def roi_align(
    input: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """The mean of interpolated samples in each of `output_size` bins of each region.

    Shapes as in `roi_pool`; nothing is rounded (He et al. 2017, 3). A bin takes
    `sampling_ratio` x `sampling_ratio` samples, or as many as it covers pixels if that is not
    positive. `aligned` puts pixel centres at .5, half a pixel from where the first version
    had them, which also made regions at least one pixel wide. Raises ValueError as `roi_pool`
    does, and for a region that would take a million samples.
    """
    name = "roi_align"
    x, image, ends, size = _regions(name, input, boxes, output_size, spatial_scale)
    low, high = ends[:, :2], ends[:, 2:]
    extent = high - low if aligned else np.maximum(high - low, 1)
    low = low - 0.5 if aligned else low
    widest = float(extent.max(initial=0))
    if sampling_ratio <= 0 and widest > _MOST_SAMPLES:
        raise ValueError(
            f"{name}: a region is {widest:.4g} pixels long, and would take as many samples; clip "
            "the boxes to the picture, or give a sampling_ratio"
        )
    module = dev.array_module(x.data)
    columns, rows = (
        module.asarray(
            sample_weights(low[:, a], extent[:, a], size[1 - a], x.shape[3 - a], sampling_ratio),
            dtype=x.dtype,
        )
        for a in (0, 1)
    )
    y, shape = kernels.of(x.data).region_align(x.data, image, rows, columns), x.shape

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).region_align_backward(gy, image, rows, columns, shape),)

    return record(y, (x,), backward)


def _regions(
    name: str, input: Any, boxes: Any, output_size: Any, spatial_scale: float
) -> tuple[Tensor, np.ndarray, np.ndarray, tuple[int, ...]]:
    """The input, each region's picture (K,) and its scaled box (K, 4) on the host, the size."""
    x, size = tensor_of(name, input, ndim=4), pair(output_size)
    need_float(name, x)
    if min(size) < 1 or min(x.shape[2:]) < 1:
        raise ValueError(f"{name}: input {x.shape} and output_size {size}, expected positive sizes")
    table = _table(name, boxes)
    if not np.isfinite(table).all():
        raise ValueError(f"{name}: boxes hold numbers that are not finite")
    image = table[:, 0].astype(np.int64)
    if ((image != table[:, 0]) | (image < 0) | (image >= x.shape[0])).any():
        raise ValueError(
            f"{name}: boxes name the pictures {np.unique(table[:, 0]).tolist()}, expected "
            f"whole numbers in 0..{x.shape[0] - 1}"
        )
    return x, image, table[:, 1:] * spatial_scale, size


def _table(name: str, boxes: Any) -> np.ndarray:
    """(K, 5) float64: boxes with the picture's number in front."""
    if not isinstance(boxes, list | tuple):
        table = dev.to_host(array_of(name, boxes)).astype(np.float64)
        if table.ndim != 2 or table.shape[1] != 5:
            raise ValueError(f"{name}: boxes have shape {table.shape}, expected (K, 5)")
        return table
    tables = [np.zeros((0, 5))]
    for i, own in enumerate(boxes):
        part = dev.to_host(array_of(name, own)).astype(np.float64)
        if part.ndim != 2 or part.shape[1] != 4:
            raise ValueError(f"{name}: boxes of picture {i} have shape {part.shape}, not (n, 4)")
        tables.append(np.column_stack([np.full(len(part), float(i)), part]))
    return np.concatenate(tables)
