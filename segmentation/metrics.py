"""How good label maps are: everything from one confusion matrix, and the boundary's F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.labels import VOID, Labels

# Of the picture's diagonal (Csurka et al. 2013, section 3.2).
TOLERANCE = 0.0075


def confusion_matrix(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Counts (C, C) of pixels by true class (rows) and predicted one (columns); void is left out.

    Raises ValueError when the maps differ in shape, or a prediction is no class.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"a prediction {predicted.shape} for a truth {truth.shape}")
    scored = truth != VOID
    said = predicted[scored].astype(np.int64)
    if said.size and said.max() >= classes:
        raise ValueError(f"class {said.max()} was predicted, expected 0 to {classes - 1}")
    places = truth[scored].astype(np.int64) * classes + said
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class Scores:
    """The figures of a confusion matrix (C, C) (Long et al. 2015, section 5).

    A class that is neither there nor predicted has no IoU, one that is not there no accuracy (NaN);
    means leave those out.
    """

    matrix: NDArray[np.int64]

    @property
    def class_iou(self) -> NDArray[np.float64]:
        """(C,): what is right over what is the class in truth, in the prediction, or in both."""
        right, union = np.diag(self.matrix), self.matrix.sum(0) + self.matrix.sum(1)
        return _ratio(right, union - right)

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """(C,): the share of each class's pixels that is right (recall)."""
        return _ratio(np.diag(self.matrix), self.matrix.sum(1))

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes."""
        return _mean(self.class_iou)

    def figures(self) -> dict[str, float]:
        """The four figures under the names of summaries."""
        total = self.matrix.sum()
        share = _ratio(self.matrix.sum(1), np.full(len(self.matrix), total))
        return {
            "mIoU": self.mean_iou,
            "global_accuracy": float(_ratio(np.diag(self.matrix).sum(), total)),
            "class_accuracy": _mean(self.class_accuracy),
            "frequency_weighted_IoU": float(np.nansum(share * np.nan_to_num(self.class_iou))),
        }

    def table(self, classes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """IoU, accuracy and number of pixels by class."""
        rows = zip(classes, self.class_iou, self.class_accuracy, self.matrix.sum(1), strict=True)
        return {name: {"IoU": i, "accuracy": a, "pixels": int(n)} for name, i, a, n in rows}


def boundary_f1(
    truth: Labels, predicted: Labels, classes: int, tolerance: float = TOLERANCE
) -> float:
    """The F1 of one picture's boundaries, the mean over its classes (Csurka et al. 2013).

    A point of a class's boundary is found when the other map has one of that class within
    `tolerance` times the picture's diagonal. Boundaries to void, and the picture's edge, do not
    count. A class with a boundary in one map only has F1 0; NaN when no class has any.
    """
    reach = tolerance * float(np.hypot(*truth.shape))
    predicted = np.where(truth == VOID, np.uint8(VOID), predicted)
    scores = []
    for one in np.union1d(np.unique(truth), np.unique(predicted)):
        if one < classes:
            edges, found = _boundary(truth, one), _boundary(predicted, one)
            if edges.any() or found.any():
                recall, precision = _near(edges, found, reach), _near(found, edges, reach)
                scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return float(np.mean(scores)) if scores else float("nan")


def _boundary(labels: Labels, one: int) -> NDArray[np.bool_]:
    """The pixels of class `one` that touch another class."""
    own, edge = labels == one, np.zeros(labels.shape, bool)
    other = ~own & (labels != VOID)
    edge[:-1] |= own[:-1] & other[1:]
    edge[1:] |= own[1:] & other[:-1]
    edge[:, :-1] |= own[:, :-1] & other[:, 1:]
    edge[:, 1:] |= own[:, 1:] & other[:, :-1]
    return edge


def _near(points: NDArray[np.bool_], others: NDArray[np.bool_], reach: float) -> float:
    """The share of `points` that have one of `others` within `reach` pixels; 0 without either."""
    if not points.any() or not others.any():
        return 0.0
    from scipy.ndimage import distance_transform_edt

    return float((distance_transform_edt(~others)[points] <= reach).mean())


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(part, whole)


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")
