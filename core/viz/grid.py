"""Pictures side by side: samples with their titles, and the filters of a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core import device as dev
from core.viz.figure import INK, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_grid(
    pictures: Sequence[np.ndarray],
    titles: Sequence[str] = (),
    *,
    columns: int | None = None,
    title: str = "",
    size: float = 1.2,
) -> Figure:
    """Pictures in rows, each under its title.

    pictures: uint8 or float in 0..1, (H, W), (H, W, 1) or (H, W, 3); `size` is the width of one in
    inches. Raises ValueError for no pictures, another shape, or another number of titles.
    """
    count = len(pictures)
    if not count:
        raise ValueError("image_grid: no pictures")
    if len(titles) not in (0, count):
        raise ValueError(f"image_grid: {count} pictures but {len(titles)} titles")
    arrays = [_checked(np.asarray(picture)) for picture in pictures]
    columns = min(count, columns or math.ceil(math.sqrt(count * 1.6)))
    rows = math.ceil(count / columns)
    tallest = max(array.shape[0] / array.shape[1] for array in arrays)
    lines = max((text.count("\n") + 1 for text in titles), default=0)
    height = size * tallest + (0.06 + 0.16 * lines if lines else 0.04)
    figure = new_figure(size * columns, height * rows + (0.4 if title else 0.05))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)  # type: ignore[union-attr,call-arg]
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in grid:
        axes.axis("off")
    for number, (axes, array) in enumerate(zip(grid, arrays, strict=False)):
        limit = 255 if array.dtype == np.uint8 else 1
        axes.imshow(array, cmap="gray", vmin=0, vmax=limit, interpolation="nearest")
        if titles:
            axes.set_title(titles[number], fontsize=8, color=INK, pad=2)
    return figure


def _checked(picture: np.ndarray) -> np.ndarray:
    """The picture as (H, W) or (H, W, 3)."""
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim != 2 and (picture.ndim != 3 or picture.shape[2] != 3):
        raise ValueError(f"image_grid: picture of shape {picture.shape}, expected (H, W[, 3])")
    return picture


def filters(weights: Any | Mapping[str, Any], *, columns: int = 8, title: str = "") -> Figure:
    """The filters of a convolution, or of several side by side (before and after training).

    weights: (K, C, kh, kw), or a mapping from titles to such. Filters over three channels are
    shown in colour; of any other number the mean over the channels is shown: red is positive, blue
    negative, white zero, on one scale for all (book, 7.6.1). Raises ValueError for another shape.
    """
    several = weights if isinstance(weights, Mapping) else {"": weights}
    arrays = {name: _as_array(weight) for name, weight in several.items()}
    limit = max(float(np.abs(_flat(a)).max()) for a in arrays.values()) or 1.0
    mosaics = {name: _mosaic(a, columns, limit) for name, a in arrays.items()}
    height, width = next(iter(mosaics.values())).shape[:2]
    side = 3.4
    top = (0.35 if title else 0) + (0.25 if any(mosaics) else 0)
    figure = new_figure(side * len(mosaics), side * height / width + top)
    figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr,call-arg]
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    for axes, (name, mosaic) in zip(
        np.atleast_1d(figure.subplots(1, len(mosaics))), mosaics.items(), strict=True
    ):
        axes.axis("off")
        axes.set_title(name, fontsize=9, color=INK)
        axes.imshow(mosaic, interpolation="nearest")
    return figure


def _as_array(weight: Any) -> np.ndarray:
    array = weight.numpy() if hasattr(weight, "numpy") else dev.to_host(weight)
    if array.ndim != 4:
        raise ValueError(f"filters: weight has shape {array.shape}, expected (K, C, kh, kw)")
    return array


def _flat(array: np.ndarray) -> np.ndarray:
    """What is shown of a filter: its three channels, or their mean (K, 1, kh, kw)."""
    return array if array.shape[1] == 3 else array.mean(axis=1, keepdims=True)


def _mosaic(array: np.ndarray, columns: int, limit: float) -> np.ndarray:
    """All filters in one RGB picture (H, W, 3), float in 0..1, one white pixel between them."""
    flat = _flat(array) / limit
    count, channels, kh, kw = flat.shape
    if channels == 3:
        tiles = (flat.transpose(0, 2, 3, 1) + 1) / 2
    else:
        from matplotlib import colormaps

        tiles = colormaps["RdBu_r"]((flat[:, 0] + 1) / 2)[..., :3]
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    picture = np.ones((rows * (kh + 1) - 1, columns * (kw + 1) - 1, 3))
    for number, tile in enumerate(tiles):
        y, x = (kh + 1) * (number // columns), (kw + 1) * (number % columns)
        picture[y : y + kh, x : x + kw] = tile
    return picture
