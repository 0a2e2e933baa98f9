"""The pictures of a training and of a game, drawn with the looks of `core.viz`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.viz.figure import INK, PALETTE, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dqn.recording import Game

_NEIGHBOURS = 25


def curves(metrics: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Return, mean value and loss of a training over its steps.

    metrics: the lines of its `metrics.jsonl`, one for each episode and each evaluation. Raises
    ValueError when there is no episode.
    """
    if not any("return" in line for line in metrics):
        raise ValueError("curves: no episode among the metrics")
    figure = new_figure(12.5, 3.4)
    figure.suptitle(title, fontsize=12, color=INK)
    panels = figure.subplots(1, 3)
    for axes, name, label in zip(
        panels, ("return", "q", "loss"), ("return", "mean value of actions", "loss"), strict=True
    ):
        tidy(axes, label, "steps of the agent")
        at, values = _series(metrics, name)
        if name == "return":
            axes.scatter(
                at, values, s=4, color=PALETTE[1], alpha=0.35, label="episode, with epsilon"
            )
        at, values = _smooth(at, values)
        axes.plot(at, values, color=PALETTE[1], linewidth=1.6)
    at, values = _series(metrics, "val_return")
    if len(at):
        panels[0].plot(at, values, color=PALETTE[0], linewidth=1.8, label="evaluation, greedy")
    panels[0].legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _series(metrics: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    points = [(line["step"], line[name]) for line in metrics if line.get(name) is not None]
    at, values = np.array(points, float).reshape(-1, 2).T
    return at, values


def _smooth(at: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over neighbours."""
    window = min(_NEIGHBOURS, len(values))
    if window < 2:
        return at, values
    kernel = np.full(window, 1 / window)
    return np.convolve(at, kernel, "valid"), np.convolve(values, kernel, "valid")


def values_along(game: Game, actions: Sequence[str], title: str) -> Figure:
    """The value of every action along an episode, with the rewards that came.

    Rewards are marked where they are not the same all the time.
    """
    figure = new_figure(11, 3.6)
    axes = figure.subplots()
    tidy(axes, title, "step of the agent", "value (Q)")
    for number, name in enumerate(actions):
        color = PALETTE[number % len(PALETTE)]
        axes.plot(game.values[:, number], color=color, linewidth=1.2, label=name)
    if np.ptp(game.rewards) > 0:
        for sign, name, color in ((1, "reward", "#999999"), (-1, "reward below 0", "#d00000")):
            for number, step in enumerate(np.flatnonzero(np.sign(game.rewards) == sign)):
                axes.axvline(
                    float(step), color=color, linewidth=0.8, label=name if not number else None
                )
    axes.legend(
        fontsize=8, frameon=False, labelcolor=INK, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    return figure


def looks(
    screens: Sequence[np.ndarray], heat: Sequence[np.ndarray], titles: Sequence[str]
) -> Figure:
    """Screens (H, W) with what the network looks at (H, W) laid over them, and without."""
    columns = len(screens)
    figure = new_figure(2.6 * columns, 5.4)
    panels = figure.subplots(2, columns, squeeze=False)
    for column, (screen, importance, title) in enumerate(zip(screens, heat, titles, strict=True)):
        strength = importance / max(float(importance.max()), 1e-12)
        for row in range(2):
            axes = panels[row, column]
            axes.imshow(screen, cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
        panels[0, column].set_title(title, fontsize=9, color=INK, loc="left")
        panels[1, column].imshow(strength, cmap="inferno", alpha=0.75 * strength**0.5)
    return figure
