"""Boxes with readable labels, drawn onto a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.viz.figure import PALETTE

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Rectangle = tuple[float, float, float, float]


def draw_boxes(
    picture: NDArray[np.uint8],
    boxes: Any,
    labels: Sequence[int] | NDArray[np.int64] | None = None,
    scores: Sequence[float] | NDArray[np.floating] | None = None,
    *,
    classes: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
    scale: int = 1,
) -> NDArray[np.uint8]:
    """A copy of the picture with its boxes, each with its class and score.

    picture: uint8 (H, W, 3); boxes: (n, 4), x1, y1, x2, y2 in pixels; labels: n class numbers,
    named by `classes`; scores: n numbers; colors: one for each box, else the class decides.
    `scale` enlarges the picture first, so that labels on a small one can be read: the result is
    uint8 (scale H, scale W, 3). Raises ValueError when the parts do not fit together.
    """
    from PIL import Image, ImageDraw

    placed = np.asarray(boxes, float).reshape(-1, 4) * scale
    count = len(placed)
    for name, part in (("labels", labels), ("scores", scores), ("colors", colors)):
        if part is not None and len(part) != count:
            raise ValueError(f"draw_boxes: {count} boxes but {len(part)} {name}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(
            f"draw_boxes: picture is {picture.dtype} {picture.shape}, expected uint8 (H, W, 3)"
        )
    numbers = np.zeros(count, int) if labels is None else np.asarray(labels, int)
    paint = list(colors) if colors else [PALETTE[n % len(PALETTE)] for n in numbers]
    canvas = Image.fromarray(picture)
    canvas = canvas.resize((canvas.width * scale, canvas.height * scale), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    line = max(1, round(min(canvas.size) / 200))
    areas = (placed[:, 2] - placed[:, 0]) * (placed[:, 3] - placed[:, 1])
    for i in np.argsort(-areas, kind="stable"):
        _frame(draw, placed[i], paint[i], line)
    texts = _texts(labels, scores, classes, count)
    font = _font(max(10, round(min(canvas.size) / 32)))
    taken: list[Rectangle] = []
    # The best are placed first: they get the best places.
    order = (
        np.argsort(-np.asarray(scores, float), kind="stable")
        if scores is not None
        else range(count)
    )
    for i in order:
        if texts[i]:
            taken.append(_label(draw, placed[i], texts[i], paint[i], font, canvas.size, taken))
    return np.array(canvas)


def _texts(labels: Any, scores: Any, classes: Sequence[str] | None, count: int) -> list[str]:
    names = [""] * count
    if labels is not None:
        names = [str(n) if classes is None else classes[n] for n in labels]
    marks = [""] * count if scores is None else [f"{score:.2f}" for score in scores]
    return [" ".join(part for part in pair if part) for pair in zip(names, marks, strict=True)]


def _font(size: int) -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def _frame(draw: ImageDraw, box: NDArray[np.floating], color: str, width: int) -> None:
    """The outline of a box, between two thin dark ones that keep it visible on any ground."""
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        return
    draw.rectangle((x1 - 1, y1 - 1, x2, y2), outline="black", width=width + 2)
    draw.rectangle((x1, y1, x2 - 1, y2 - 1), outline=color, width=width)


def _label(
    draw: ImageDraw,
    box: NDArray[np.floating],
    text: str,
    color: str,
    font: FreeTypeFont,
    size: tuple[int, int],
    taken: list[Rectangle],
) -> Rectangle:
    """Draw a label at the place around its box that covers the least of the earlier ones."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    margin = max(2, round(font.size / 6))
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x1, y1, x2, y2 = box
    corners = [(x1, y1 - height), (x1, y1), (x1, y2), (x1, y2 - height), (x2 - width, y1 - height)]
    places = [_inside(x, y, width, height, size) for x, y in corners]
    place = min(places, key=lambda p: sum(_overlap(p, other) for other in taken))
    draw.rectangle(place, fill=color)
    at = (place[0] + margin - left, place[1] + margin - top)
    draw.text(at, text, fill=_readable_on(color), font=font)
    return place


def _inside(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> Rectangle:
    x = min(max(0.0, x), max(0.0, size[0] - width))
    y = min(max(0.0, y), max(0.0, size[1] - height))
    return x, y, x + width, y + height


def _overlap(a: Rectangle, b: Rectangle) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _readable_on(color: str) -> str:
    """Black or white, whichever stands out (luminance of ITU-R BT.601)."""
    from PIL import ImageColor

    red, green, blue = ImageColor.getrgb(color)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
