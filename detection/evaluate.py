"""Run a detector over a data set and say how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.training.progress import track
from detection.data import DetectionData
from detection.detector import Detector, Looked
from detection.errors import analyse
from detection.metrics import Evaluation, Predictions, coco_map, evaluate, proposal_recall

RECALL_AT = (50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Judged:
    """Predictions for every picture, their evaluation at IoU 0.5, and the figures."""

    predictions: list[Predictions]
    evaluation: Evaluation
    figures: dict[str, Any]


def detect_all(
    detector: Detector, data: DetectionData, proposals: Sequence[NDArray[np.float32]]
) -> Iterator[Looked]:
    """What the detector says of every picture's proposals, for `Detector.decide`.

    Raises ValueError for a detector of other classes than those of the data.
    """
    if detector.classes != data.classes:
        raise ValueError(
            f"{data.name} has the classes {', '.join(data.classes)}, "
            f"the detector knows {', '.join(detector.classes)}"
        )
    for picture, boxes in track(list(zip(data.pictures, proposals, strict=True)), "detecting"):
        yield detector.look(picture.read(), boxes)


def judge(
    detector: Detector, data: DetectionData, proposals: Sequence[NDArray[np.float32]]
) -> Judged:
    """Detect in every picture, and measure mAP at 0.5 and over COCO's thresholds, and errors.

    The detector without its box regression and with the softmax in place of the SVMs are
    measured beside it.
    """
    predictions, unmoved, softmax = [], [], []
    for looked in detect_all(detector, data, proposals):
        predictions.append(detector.decide(looked))
        unmoved.append(detector.decide(looked, regress=False))
        softmax.append(detector.decide(looked, head="softmax"))
    truth, classes = data.truth(), len(data.classes)
    result = evaluate(predictions, truth, classes)
    drawn = [detector.confident(found) for found in predictions]
    figures = {
        "mAP@0.5": result.mean_ap,
        "AP@0.5": {n: r.ap for n, r in zip(data.classes, result.classes, strict=True)},
        "mAP@0.5 (11 points)": evaluate(predictions, truth, classes, method="voc07").mean_ap,
        "mAP@[.5:.95]": coco_map(predictions, truth, classes),
        "mAP@0.5 without box regression": evaluate(unmoved, truth, classes).mean_ap,
        "mAP@0.5 of the softmax": evaluate(softmax, truth, classes).mean_ap,
        "errors": analyse(drawn, truth).counts,
    }
    return Judged(predictions, result, figures)


def recall_table(data: DetectionData, proposals: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Recall at IoU 0.5 of the first 50, 100, ... proposals of a picture, and their mean number."""
    most = max((len(p) for p in proposals), default=0)
    counts = [c for c in RECALL_AT if c < most] + [most]
    recalls = proposal_recall(proposals, data.truth(), counts)
    table = {str(c): float(r) for c, r in zip(counts, recalls, strict=True)}
    return {**table, "mean_number": float(np.mean([len(p) for p in proposals]))}


def thresholds(evaluation: Evaluation) -> list[float]:
    """For each class the score from which its F1 is best; 0 for a class without truth."""
    points = []
    for curve in evaluation.classes:
        if not len(curve.scores) or not curve.truths:
            points.append(0.0)
            continue
        total = np.maximum(curve.precision + curve.recall, 1e-12)
        f1 = 2 * curve.precision * curve.recall / total
        points.append(float(curve.scores[f1.argmax()]))
    return points
