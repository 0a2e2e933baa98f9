"""What is drawn of a job: pictures side by side, and the course of the losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core import viz
from core.data.images import Picture, resize

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def before_after(content: Picture | None, styles: Sequence[Picture], result: Picture) -> Figure:
    """Content, styles and result in one row."""
    named = [("content", content)] if content is not None else []
    named += [("style", style) for style in styles]
    named += [("result", result)]
    height = result.shape[0]
    pictures = [_of_height(picture, height) for _, picture in named if picture is not None]
    return viz.image_grid(pictures, [name for name, _ in named], columns=len(named), size=3.0)


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
