"""Warped crops: what the network sees of each proposal (Girshick et al. 2014, appendix A)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detection.boxes import as_boxes

# The paper leaves 16 of 227 warped pixels of context on each side.
CONTEXT = 16 / 227


def warp_crops(
    picture: NDArray[np.uint8], boxes: ArrayLike, size: int, context: float = CONTEXT
) -> NDArray[np.uint8]:
    """Return the crops uint8 (n, size, size, 3) of the boxes (n, 4), each warped to a square.

    `picture` is uint8 (H, W, 3). On each side `context` * size pixels of the crop show what is
    around the box; what would lie outside the picture is filled with its mean colour. Large
    boxes are averaged, not sampled. Raises ValueError for a box without area.
    """
    from PIL import Image

    wanted = _with_context(as_boxes(boxes).astype(np.float64), context)
    crops = np.empty((len(wanted), size, size, 3), np.uint8)
    if not len(wanted):
        return crops
    padded, margin = _padded(picture, wanted)
    image = Image.fromarray(padded)
    limit = (padded.shape[1], padded.shape[0])
    for crop, (x1, y1, x2, y2) in zip(crops, (wanted + margin).tolist(), strict=True):
        box = (max(0.0, x1), max(0.0, y1), min(limit[0], x2), min(limit[1], y2))
        crop[...] = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box))
    return crops


def _with_context(boxes: NDArray[np.float64], context: float) -> NDArray[np.float64]:
    """The boxes grown so that they fill all of the crop but `context` of it on each side."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    if not (sizes > 0).all():
        raise ValueError(f"warp_crops: box {boxes[(sizes <= 0).any(axis=1)][0]} has no area")
    grow = sizes * (context / (1 - 2 * context))
    return np.concatenate([boxes[:, :2] - grow, boxes[:, 2:] + grow], axis=1)


def _padded(
    picture: NDArray[np.uint8], boxes: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], int]:
    """The picture with a border of its mean colour that holds all boxes, and its width."""
    height, width = picture.shape[:2]
    beyond = max(-boxes[:, :2].min(), (boxes[:, 2:] - [width, height]).max(), 0.0)
    margin = math.ceil(beyond)
    padded = np.empty((height + 2 * margin, width + 2 * margin, 3), np.uint8)
    padded[...] = picture.mean(axis=(0, 1)).round()
    padded[margin : margin + height, margin : margin + width] = picture
    return padded, margin
