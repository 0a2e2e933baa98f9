"""Plots of figures: curves of a training, a confusion matrix, precision and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.viz.figure import FAINT, INK, PALETTE, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is better when it is smaller; of everything else the largest value is the best.
_SMALLER = ("loss", "error")


def curves(
    metrics: Sequence[Mapping[str, Any]],
    names: Sequence[str] = ("loss", "accuracy"),
    *,
    title: str = "",
) -> Figure:
    """The course of a training, one panel for each of `names` that the metrics hold.

    `metrics` are the lines of a `metrics.jsonl`: `epoch` (or `step`), the training's figures
    under their names and the validation's as "val_" + name. Raises ValueError when there is
    nothing to draw.
    """
    shown = [n for n in names if any(_value(line, k) for line in metrics for k in (n, "val_" + n))]
    if not shown:
        raise ValueError(f"curves: no metrics under the names {', '.join(names)}")
    figure = new_figure(4.6 * len(shown), 3.4)
    if title:
        figure.suptitle(title, fontsize=12, color=INK)
    x = "epoch" if all("epoch" in line for line in metrics) else "step"
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        tidy(axes, name, x)
        for key, label, color in (
            (name, "training", PALETTE[1]),
            ("val_" + name, "validation", PALETTE[0]),
        ):
            _curve(axes, metrics, x, key, label, color)
        if x == "epoch":
            axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _value(line: Mapping[str, Any], key: str) -> bool:
    return line.get(key) is not None


def _curve(
    axes: Axes,
    metrics: Sequence[Mapping[str, Any]],
    x: str,
    key: str,
    label: str,
    color: str,
) -> None:
    points = [(line[x], line[key]) for line in metrics if _value(line, key)]
    if not points:
        return
    at, values = np.array(points, float).T
    smaller = any(word in key for word in _SMALLER)
    best = int(values.argmin() if smaller else values.argmax())
    axes.plot(
        at,
        values,
        color=color,
        linewidth=1.8,
        marker="o" if len(points) < 30 else "",
        markersize=3,
        label=f"{label} (best {values[best]:.4g}, {x} {at[best]:.0f})",
    )


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], *, title: str = "") -> Figure:
    """Counts of true classes (rows) by predicted ones (columns).

    matrix: (C, C) counts. The shade of a cell is its share of the row. Raises ValueError when
    `classes` are not C names.
    """
    counts = np.asarray(matrix)
    size = len(classes)
    if counts.shape != (size, size):
        raise ValueError(f"confusion_matrix: shape {counts.shape}, expected ({size}, {size})")
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Eight points of type take about 0.07 inches a letter; names on the left need their room.
    side = 1.6 + 0.42 * size + 0.07 * max(0, max(map(len, classes), default=0) - 8)
    figure = new_figure(side, side)
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            f"{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share[row, column] > 0.5 else INK,
        )
    tidy(axes, title or "confusion matrix", "predicted", "true")
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(size), classes, rotation=45 if max(map(len, classes)) > 3 else 0)
    axes.set_yticks(range(size), classes)
    return figure


def precision_recall(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    average_precision: Mapping[str, float] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Precision against recall, one line for each entry of `series`.

    series: name -> (recall, precision), each (n,) in the order of falling score, as published
    metrics compute them; `average_precision` adds each one's figure to the legend.
    """
    figure = new_figure(5.6, 4.2)
    axes = figure.subplots()
    tidy(axes, title or "precision and recall", "recall", "precision")
    for number, (name, (recall, precision)) in enumerate(series.items()):
        score = (average_precision or {}).get(name)
        # With nothing returned yet, precision is that of the first detection.
        first = precision[:1]
        axes.plot(
            np.concatenate([np.zeros(len(first)), recall]),
            np.concatenate([first, precision]),
            color=PALETTE[number % len(PALETTE)],
            linestyle=("-", "--", ":")[number // len(PALETTE) % 3],
            linewidth=1.8,
            label=name if score is None else f"{name}  AP {score:.3f}",
        )
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.02)
    if series:
        axes.legend(
            fontsize=8,
            frameon=False,
            labelcolor=INK,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            ncols=1 + (len(series) - 1) // 20,
        )
    axes.plot([0, 1], [1, 1], color=FAINT, linewidth=0.6)
    return figure
