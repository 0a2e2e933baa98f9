"""The pictures that the commands make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core import viz
from core.data.images import Picture
from segmentation.data import SegmentationData
from segmentation.labels import VOID, Labels
from segmentation.metrics import Scores

_WRONG, _RIGHT = (214, 39, 40), (235, 235, 235)
TITLES = ("picture", "truth", "prediction", "error")


def error_map(truth: Labels, predicted: Labels) -> Picture:
    """Red where a prediction is wrong, grey where it is right, white where nobody knows."""
    colours = np.where((truth == predicted)[:, :, None], _RIGHT, _WRONG)
    return np.where((truth == VOID)[:, :, None], 255, colours).astype(np.uint8)


def comparison(
    data: SegmentationData, predictions: Sequence[Labels], scores: Scores, *, count: int = 6
) -> Figure:
    """The first pictures with truth, prediction and error; the legend has each class's IoU."""
    palette = data.labels.palette
    rows = []
    for number, predicted in enumerate(predictions[:count]):
        picture, truth = data.pictures[number].read()
        rows.append([picture, palette[truth], palette[predicted], error_map(truth, predicted)])
    legend = {
        f"{name}  {_shown(iou)}": palette[label]
        for label, (name, iou) in enumerate(zip(data.classes, scores.class_iou, strict=True))
    }
    title = f"{data.name}, {data.split}: mIoU {scores.mean_iou:.3f} (IoU of each class below)"
    return viz.mask_grid(rows, TITLES, legend, title=title)


def _shown(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def confusion(scores: Scores, classes: Sequence[str]) -> Figure:
    """The share of each true class's pixels that is taken for which class, in percent."""
    shares = scores.matrix / np.maximum(scores.matrix.sum(axis=1, keepdims=True), 1)
    percent: NDArray[np.int64] = np.rint(100 * shares).astype(np.int64)
    return viz.confusion_matrix(percent, classes, title="pixels, % of the true class")
