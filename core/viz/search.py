"""Pictures of a search for hyper-parameters (book, 6.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.viz.figure import FAINT, INK, PALETTE, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5


def search_curves(trials: Sequence[Mapping[str, Any]]) -> Figure:
    """The courses of trials, a panel each, the first of `trials` first (book, figure 6-24).

    A trial has `lr`, `weight_decay` and `course`: its `accuracy` and `val_accuracy`, epoch by
    epoch. Raises ValueError when there is none.
    """
    _need_trials("search_curves", trials)
    rows = math.ceil(len(trials) / _COLUMNS)
    figure = new_figure(2.2 * _COLUMNS, 1.9 * rows)
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for number, (axes, trial) in enumerate(zip(panels, trials, strict=False), start=1):
        tidy(axes, f"{number}")
        axes.set_title(
            f"lr {trial['lr']:.2g}, decay {trial['weight_decay']:.2g}",
            fontsize=7,
            color=INK,
            loc="right",
        )
        for name, color in (("accuracy", PALETTE[1]), ("val_accuracy", PALETTE[0])):
            values = trial["course"][name]
            label = "validation" if name.startswith("val_") else "training"
            axes.plot(range(1, len(values) + 1), values, color=color, linewidth=1.4, label=label)
        axes.set_ylim(0, 1)
    for axes in panels[len(trials) :]:
        axes.set_visible(False)
    panels[0].legend(fontsize=7, frameon=False, labelcolor=INK, loc="lower right")
    figure.supxlabel("epoch", fontsize=9, color=INK)
    figure.supylabel("accuracy", fontsize=9, color=INK)
    return figure


def search_map(trials: Sequence[Mapping[str, Any]]) -> Figure:
    """Every trial as a point: learning rate by weight decay, the shade its `val_accuracy`.

    Raises ValueError when there is none.
    """
    _need_trials("search_map", trials)
    figure = new_figure(5.4, 4.2)
    axes = figure.subplots()
    tidy(axes, "validation accuracy of each trial", "learning rate", "weight decay")
    points = axes.scatter(
        [trial["lr"] for trial in trials],
        [trial["weight_decay"] for trial in trials],
        c=np.array([trial["val_accuracy"] for trial in trials]),
        cmap="viridis",
        vmin=0,
        vmax=1,
        s=36,
        edgecolors=FAINT,
        linewidths=0.5,
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    figure.colorbar(points, ax=axes).ax.tick_params(labelsize=8)
    return figure


def _need_trials(name: str, trials: Sequence[Mapping[str, Any]]) -> None:
    if not trials:
        raise ValueError(f"{name}: no trials to draw")
