"""Plots that compare settings: courses of many trainings, histograms, paths, points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.viz.figure import FAINT, INK, PALETTE, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def lines(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    columns: int | None = None,
    xlabel: str = "",
    ylabel: str = "",
    smooth: int = 1,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """Several series in each panel: panel -> label -> values at 0, 1, ...

    `smooth` averages over so many neighbours, `log` makes the y axis logarithmic, `limits` fix it.
    Raises ValueError when there are no panels.
    """
    figure, grid = _grid(panels, columns, 3.8, 2.9, title)
    for axes, (name, series) in zip(grid, panels.items(), strict=False):
        tidy(axes, name, xlabel, ylabel)
        for number, (label, values) in enumerate(series.items()):
            axes.plot(
                _smoothed(np.asarray(values, float), smooth),
                color=PALETTE[number % len(PALETTE)],
                linewidth=1.6,
                label=label,
            )
        if log:
            axes.set_yscale("log")
        if limits is not None:
            axes.set_ylim(*limits)
    handles, labels = grid[0].get_legend_handles_labels()
    if len(labels) > 1:
        grid[0].legend(handles, labels, fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _smoothed(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    if window < 2 or len(values) < window:
        return values
    return np.convolve(values, np.full(window, 1 / window), "valid")


def histograms(rows: Mapping[str, Sequence[ArrayLike]], *, title: str = "") -> Figure:
    """One row of histograms for each entry, one column for each of its arrays (layers).

    Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("histograms: nothing to draw")
    depth = max(map(len, rows.values()))
    figure = new_figure(1.9 * depth, 1.35 * len(rows) + 0.4)
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    grid = figure.subplots(len(rows), depth, squeeze=False)
    for number, (name, arrays) in enumerate(rows.items()):
        for layer, axes in enumerate(grid[number]):
            if layer >= len(arrays):
                axes.axis("off")
                continue
            values = np.ravel(np.asarray(arrays[layer], float))
            tidy(axes, name if layer == 0 else "", f"layer {layer + 1}" if not number else "")
            axes.hist(values, bins=30, color=PALETTE[number % len(PALETTE)])
            axes.xaxis.set_label_position("top")
            axes.set_yticks([])
            axes.title.set_fontsize(8)
    return figure


def paths(
    tracks: Mapping[str, ArrayLike], surface: Callable[[Any, Any], Any], *, title: str = ""
) -> Figure:
    """Where optimisers went on a surface: name -> points (n, 2), over contours of surface(x, y).

    Raises ValueError for no tracks, or points of another shape.
    """
    points = {name: np.asarray(track, float) for name, track in tracks.items()}
    for name, array in points.items():
        if array.ndim != 2 or array.shape[1] != 2:
            raise ValueError(f"paths: {name} has shape {array.shape}, expected (n, 2)")
    figure, grid = _grid(points, None, 4.0, 2.9, title)
    reach = 1.25 * np.abs(np.concatenate(list(points.values()))).max(axis=0) + 1e-9
    x, y = np.meshgrid(*(np.linspace(-r, r, 200) for r in reach))
    heights = surface(x, y)
    for number, (axes, (name, track)) in enumerate(zip(grid, points.items(), strict=False)):
        tidy(axes, name, "x", "y")
        axes.contour(x, y, heights, levels=12, colors=FAINT, linewidths=0.8)
        axes.plot(*track.T, marker="o", markersize=3, linewidth=1.4, color=PALETTE[number])
        axes.plot(*track[-1], marker="*", markersize=11, color=INK)
    return figure


def scatter(
    points: ArrayLike, labels: ArrayLike, classes: Sequence[str], *, title: str = ""
) -> Figure:
    """Points (N, 2) coloured by class: labels (N,) index `classes`.

    Raises ValueError when the shapes do not fit.
    """
    at, kinds = np.asarray(points, float), np.asarray(labels)
    if at.ndim != 2 or at.shape[1] != 2 or kinds.shape != at.shape[:1]:
        raise ValueError(
            f"scatter: points {at.shape} and labels {kinds.shape}, expected (N, 2) and (N,)"
        )
    figure = new_figure(6.2, 4.8)
    axes = figure.subplots()
    tidy(axes, title)
    for number, name in enumerate(classes):
        own = at[kinds == number]
        color = PALETTE[number % len(PALETTE)]
        axes.scatter(own[:, 0], own[:, 1], s=9, color=color, label=name, linewidths=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(
        fontsize=8,
        frameon=False,
        labelcolor=INK,
        markerscale=2,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
    return figure


def _grid(
    panels: Mapping[str, Any], columns: int | None, width: float, height: float, title: str
) -> tuple[Figure, list[Axes]]:
    """An axes for each panel; those left over are switched off."""
    if not panels:
        raise ValueError("nothing to draw: no panels")
    count = len(panels)
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    figure = new_figure(width * columns, height * rows + (0.4 if title else 0))
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    grid = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for axes in grid[count:]:
        axes.axis("off")
    return figure, grid
