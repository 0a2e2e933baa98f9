"""What is drawn of a job: pictures side by side, and the course of the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core import viz
from core.data.images import Picture, resize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 12  # frames in the grid of a run
_CELL, _GAP = 190, 4  # pixels of a table: width of a picture, and the lines between two


def before_after(content: Picture | None, styles: Sequence[Picture], result: Picture) -> Figure:
    """Content, styles and result in one row."""
    named = [("content", content)] if content is not None else []
    named += [("style", style) for style in styles]
    named += [("result", result)]
    height = result.shape[0]
    pictures = [_of_height(picture, height) for _, picture in named if picture is not None]
    return viz.image_grid(pictures, [name for name, _ in named], columns=len(named), size=3.0)


def course(frames: Mapping[int, Picture]) -> Figure:
    """Pictures on the way, under their iterations; of many, twelve at most."""
    at = sorted(frames)
    shown = [at[round(n)] for n in np.linspace(0, len(at) - 1, min(len(at), _SHOWN))]
    return viz.image_grid(
        [frames[n] for n in shown], [f"iteration {n}" for n in shown], columns=4, size=2.2
    )


def pairs(shown: Sequence[tuple[Picture, Picture]], style: Picture | None = None) -> Figure:
    """Pictures above what was made of each; the style, where given, in front."""
    rows = [list(row) for row in zip(*shown, strict=True)]
    titles = [["before"] * len(shown), ["after"] * len(shown)]
    if style is not None:
        corner = _of_height(style, rows[0][0].shape[0])
        rows = [[corner, *rows[0]], [np.full_like(corner, 255), *rows[1]]]
        titles = [["style", *titles[0]], ["", *titles[1]]]
    return viz.image_grid(
        [*rows[0], *rows[1]], [*titles[0], *titles[1]], columns=len(rows[0]), size=2.2
    )


def table(
    contents: Mapping[str, Picture],
    styles: Mapping[str, Picture],
    results: Mapping[tuple[str, str], Picture],
) -> Picture:
    """A row for each content and a column for each style, which stand at the edges."""
    corner = np.full((_CELL * 3 // 4, _CELL, 3), 255, np.uint8)
    rows = [[corner, *(_cut(style, corner.shape[0], _CELL) for style in styles.values())]]
    for name, content in contents.items():
        row = [content, *(results[name, style] for style in styles)]
        height = round(_CELL * row[1].shape[0] / row[1].shape[1])
        rows.append([_cut(one, height, _CELL) for one in row])
    return np.concatenate([_beside(row) for row in rows])


def _beside(row: Sequence[Picture]) -> Picture:
    """Pictures of one size in a row, with white lines between them and below."""
    return np.concatenate(
        [np.pad(one, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for one in row], axis=1
    )


def _cut(picture: Picture, height: int, width: int) -> Picture:
    """The middle of a picture, as large as the shape allows, scaled to it."""
    scale = max(height / picture.shape[0], width / picture.shape[1])
    shape = (
        max(height, round(picture.shape[0] * scale)),
        max(width, round(picture.shape[1] * scale)),
    )
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return resize(picture, shape, "lanczos")[top : top + height, left : left + width]


def losses(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """The losses of each iteration, on a logarithmic scale: their parts, and the sum."""
    parts = {"content": "content loss", "style": "style loss", "total variation": "tv"}
    panels = {
        "parts": {label: _course(metrics, name) for label, name in parts.items()},
        "weighted sum": {"loss": _course(metrics, "loss")},
    }
    return viz.lines(panels, xlabel="iteration", log=True)


def _course(metrics: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    # A logarithmic axis has no place for zero, where the content's loss may start.
    return [line[name] or float("nan") for line in metrics if name in line]


def _of_height(picture: Picture, height: int) -> Picture:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return resize(picture, (height, width), "lanczos")
