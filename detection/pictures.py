"""The pictures that the detector's commands make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core import viz
from detection.boxes import box_iou
from detection.data import DetectionData
from detection.evaluate import Judged
from detection.metrics import GroundTruth, Predictions

Pixels = NDArray[np.uint8]

# Pictures are enlarged to about this many pixels a side before anything is drawn on them.
SIDE = 420


def annotate(picture: Pixels, found: Predictions, classes: Sequence[str]) -> Pixels:
    """The picture, enlarged if it is small, with boxes, class names and scores."""
    scale = max(1, SIDE // max(picture.shape[:2]))
    return viz.draw_boxes(
        picture, found.boxes, found.labels, found.scores, classes=classes, scale=scale
    )


def detections(
    data: DetectionData, found: Sequence[Predictions], *, count: int = 12, title: str = ""
) -> Figure:
    """The first pictures of a data set with what was found in them."""
    shown = [
        annotate(picture.read(), predictions, data.classes)
        for picture, predictions in zip(data.pictures[:count], found, strict=False)
    ]
    return viz.image_grid(shown, columns=min(4, len(shown)), title=title, size=3.0)


def proposals(
    data: DetectionData, boxes: Sequence[NDArray[np.float32]], *, count: int = 4
) -> Figure:
    """Pictures with their first 40 proposals (grey) and the best one on each object (green)."""
    panels, titles = [], []
    for picture, candidates in zip(data.pictures[:count], boxes, strict=False):
        pixels, truth = picture.read(), picture.truth()
        best, overlaps = _best(candidates, truth)
        drawn = np.concatenate([candidates[:40], best])
        colours = ["#bbbbbb"] * len(candidates[:40]) + ["#00c853"] * len(best)
        scale = max(1, SIDE // max(pixels.shape[:2]))
        panels.append(viz.draw_boxes(pixels, drawn, colors=colours, scale=scale))
        mean = f", best IoU {np.mean(overlaps):.2f}" if len(overlaps) else ""
        titles.append(f"{len(candidates)} proposals{mean}")
    return viz.image_grid(panels, titles, columns=len(panels), size=3.0)


def _best(
    candidates: NDArray[np.float32], truth: GroundTruth
) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
    """For each true box the proposal that overlaps it most, and by how much."""
    if not len(candidates) or not len(truth.boxes):
        return np.zeros((0, 4), np.float32), np.zeros(0)
    iou = box_iou(truth.boxes, candidates)
    return candidates[iou.argmax(axis=1)], iou.max(axis=1)


def precision_recall(judged: Judged, classes: Sequence[str], title: str = "") -> Figure:
    """The precision-recall curve of each class, with its AP."""
    results = {n: r for n, r in zip(classes, judged.evaluation.classes, strict=True) if r.truths}
    return viz.precision_recall(
        {name: (r.recall, r.precision) for name, r in results.items()},
        {name: r.ap for name, r in results.items()},
        title=title,
    )
