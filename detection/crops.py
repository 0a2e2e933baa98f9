"""Warped crops: what the network sees of each proposal (Girshick et al. 2014, appendix A)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detection.boxes import as_boxes

# The paper leaves 16 of 227 warped pixels of context on each side.
CONTEXT = 16 / 227


class Canvas:
    """A picture uint8 (H, W, 3) inside a border of its mean colour, to cut crops from.

    The border holds the context of any box in the picture: on each side, `context` of a crop's
    pixels show what is around the box.
    """

    def __init__(self, picture: NDArray[np.uint8], context: float = CONTEXT) -> None:
        from PIL import Image

        height, width = picture.shape[:2]
        self._share = context / (1 - 2 * context)
        self._margin = margin = math.ceil(max(height, width) * self._share)
        self._limits = np.array([0, 0, width, height], np.float64)
        padded = np.empty((height + 2 * margin, width + 2 * margin, 3), np.uint8)
        padded[...] = picture.mean(axis=(0, 1)).round()
        padded[margin : margin + height, margin : margin + width] = picture
        self._image = Image.fromarray(padded)

    def warp(self, boxes: ArrayLike, size: int) -> NDArray[np.uint8]:
        """The crops uint8 (n, size, size, 3) of the boxes (n, 4), each warped to a square.

        Large boxes are averaged, not sampled. Raises ValueError for a box without area or
        outside the picture.
        """
        from PIL import Image

        areas = self._with_context(as_boxes(boxes).astype(np.float64))
        crops = np.empty((len(areas), size, size, 3), np.uint8)
        for crop, area in zip(crops, areas.tolist(), strict=True):
            part = self._image.resize((size, size), Image.Resampling.BILINEAR, tuple(area))
            crop[...] = np.asarray(part)
        return crops

    def _with_context(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The boxes with their context, in the canvas's pixels."""
        sizes = boxes[:, 2:] - boxes[:, :2]
        inside = boxes.clip(self._limits[[0, 1, 0, 1]], self._limits[[2, 3, 2, 3]])
        wrong = (sizes <= 0).any(axis=1) | (inside != boxes).any(axis=1)
        if wrong.any():
            raise ValueError(f"crops: box {boxes[wrong][0]} has no area or leaves the picture")
        grow = sizes * self._share
        return np.concatenate([boxes[:, :2] - grow, boxes[:, 2:] + grow], axis=1) + self._margin


def warp_crops(
    picture: NDArray[np.uint8], boxes: ArrayLike, size: int, context: float = CONTEXT
) -> NDArray[np.uint8]:
    """The crops uint8 (n, size, size, 3) of boxes (n, 4) of one picture; see `Canvas`."""
    return Canvas(picture, context).warp(boxes, size)
