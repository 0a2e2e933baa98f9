"""Label maps: in colours, laid over pictures, and beside them with a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.viz.figure import INK
from core.viz.grid import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]


def overlay(
    picture: Pixels, labels: Pixels, palette: Pixels, *, opacity: float = 0.55, hidden: int = 255
) -> Pixels:
    """The picture (H, W, 3) under the colours of its labels (H, W); `hidden` ones stay clear.

    palette: (n, 3), a colour for each label. Raises ValueError when the sizes differ.
    """
    if picture.shape[:2] != labels.shape:
        raise ValueError(f"overlay: picture {picture.shape} but labels {labels.shape}")
    mixed = picture * (1 - opacity) + palette[labels] * opacity
    return np.where((labels != hidden)[:, :, None], np.rint(mixed), picture).astype(np.uint8)


def mask_grid(
    rows: Sequence[Sequence[Pixels]],
    titles: Sequence[str],
    legend: Mapping[str, Sequence[int]],
    *,
    title: str = "",
    size: float = 2.2,
) -> Figure:
    """Rows of pictures (H, W[, 3]) under common titles, and below them what the colours mean.

    legend: name -> RGB. Raises ValueError when a row has not as many pictures as there are titles.
    """
    for row in rows:
        if len(row) != len(titles):
            raise ValueError(f"mask_grid: {len(row)} pictures in a row but {len(titles)} titles")
    columns = [_stacked(column) for column in zip(*rows, strict=True)]
    figure = image_grid(columns, titles, columns=len(titles), title=title, size=size)
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=_hex(colour), edgecolor=INK, linewidth=0.4, label=name)
        for name, colour in legend.items()
    ]
    beside = max(1, min(len(patches), int(size * len(titles) / 1.35)))
    lines = -(-len(patches) // beside)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.2 * lines + 0.15)
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=beside,
        fontsize=8,
        frameon=False,
        labelcolor=INK,
    )
    return figure


def _stacked(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures (H, W[, 3]) one above the other, on white."""
    width = max(picture.shape[1] for picture in pictures)
    gap = max(2, width // 60)
    parts = []
    for picture in pictures:
        colours = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
        margins = ((0, gap), (0, width - picture.shape[1]), (0, 0))
        parts.append(np.pad(colours, margins, constant_values=255))
    return np.concatenate(parts)[:-gap]


def _hex(colour: Sequence[int]) -> str:
    return f"#{bytes(int(value) for value in colour).hex()}"
