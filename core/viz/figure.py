"""What all figures share: size, colours, the look of the axes, and how they are saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.io.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct on light and dark pictures and for colour-blind readers as far as ten can be.
PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#f0e442",
    "#8c564b",
    "#7a5cd6",
    "#17becf",
)
INK = "#222222"
FAINT = "#d9d9d9"
DPI = 120


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of `width` x `height` inches that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def tidy(axes: Axes, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Give axes their labels and take away what is not data."""
    axes.set_title(title, fontsize=11, color=INK, loc="left", fontweight="bold")
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.set_ylabel(ylabel, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def save(figure: Figure | np.ndarray, path: str | os.PathLike[str]) -> None:
    """Write a figure, or a uint8 picture (H, W, 3), whole or not at all.

    The ending of `path` decides the format (.png and .jpg for both; .svg and .pdf for figures too).
    """
    kind = Path(path).suffix.lstrip(".").lower() or "png"
    if isinstance(figure, np.ndarray):
        from core.data.images import save_image

        save_image(path, figure)
        return
    # No date in the file: the same figure gives the same bytes.
    metadata: dict[str, Any] | None = {"png": {"Software": None}, "svg": {"Date": None}}.get(kind)
    with atomic_write(path) as file:
        figure.savefig(file, format=kind, metadata=metadata)
