"""Detection metrics: matching, precision and recall, AP of VOC and of COCO, proposal recall.

Predictions and truth are lists with one entry per picture, in the same order. Boxes follow
:mod:`detection.boxes`; labels are 0..classes-1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detection.boxes import as_boxes, box_area, box_iou, intersection

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Method = Literal["voc07", "voc", "coco"]

COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())


@dataclass(frozen=True)
class Predictions:
    """What was found in one picture: ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,).

    Raises ValueError when the lengths differ or a box or score is not finite.
    """

    boxes: Floats
    scores: Floats
    labels: Ints

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", as_boxes(self.boxes))
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float64))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        _same_length("predictions", len(self.boxes), self.scores, self.labels)
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise ValueError("predictions: every box and score must be finite")


@dataclass(frozen=True)
class GroundTruth:
    """What is in one picture: ``boxes`` (n, 4), ``labels`` (n,), ``difficult`` (n,) or none.

    Raises ValueError when the lengths differ.
    """

    boxes: Floats
    labels: Ints
    difficult: Bools = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", as_boxes(self.boxes))
        object.__setattr__(self, "labels", np.asarray(self.labels, dtype=np.int64))
        difficult = np.asarray(self.difficult, dtype=bool)
        if difficult.size == 0:
            difficult = np.zeros(len(self.boxes), dtype=bool)
        object.__setattr__(self, "difficult", difficult)
        _same_length("ground truth", len(self.boxes), self.labels, self.difficult)


def _same_length(what: str, count: int, *columns: NDArray) -> None:
    for column in columns:
        if column.shape != (count,):
            raise ValueError(f"{what}: {count} boxes but a column of shape {column.shape}")


@dataclass(frozen=True)
class ClassResult:
    """The result of one class: its AP (NaN without truth) and its precision-recall curve.

    ``recall``, ``precision`` and ``scores`` are (detections,), by descending score.
    """

    ap: float
    recall: Floats
    precision: Floats
    scores: Floats
    truths: int


@dataclass(frozen=True)
class Evaluation:
    """AP per class and their mean over the classes that occur in the truth."""

    classes: list[ClassResult]
    mean_ap: float


def average_precision(recall: ArrayLike, precision: ArrayLike, method: Method = "voc") -> float:
    """Return the area under a precision-recall curve, given by descending score.

    ``voc07``: mean of the best precision at recall >= 0, 0.1, ..., 1 (Everingham et al. 2010,
    section 4.2); ``voc``: exact area under the monotone envelope (VOC 2010 onwards); ``coco``: mean
    over 101 recall levels. An empty curve has area 0.
    """
    r, p = np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64)
    if r.shape != p.shape or r.ndim != 1:
        raise ValueError(f"average_precision: recall {r.shape} and precision {p.shape} differ")
    envelope = np.maximum.accumulate(p[::-1])[::-1]
    if method == "voc":
        return float(np.sum(np.diff(r, prepend=0.0) * envelope))
    if method not in ("voc07", "coco"):
        raise ValueError(f"average_precision: expected 'voc07', 'voc' or 'coco', got {method!r}")
    levels = np.linspace(0, 1, 11 if method == "voc07" else 101)
    # A recall of 3/10 must count as level 0.3 whatever the last bit says.
    first = np.searchsorted(r, levels - 1e-12, side="left")
    return float(np.mean(np.append(envelope, 0.0)[first]))


def match_voc(iou: Floats, ignored: Bools, threshold: float) -> tuple[Bools, Bools]:
    """Match predictions, by descending score, to the truths of one class in one picture.

    Each prediction looks only at the truth it overlaps most: at ``iou >= threshold`` it is true if
    that truth is still free, else a duplicate and false; an ignored (difficult) truth makes it
    count as nothing. ``iou`` is (n, m). Returns (true, ignored) masks (n,). Source: VOC
    development kit, VOCevaldet.
    """
    count, truths = iou.shape
    true, nothing = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    free = np.ones(truths, dtype=bool)
    if truths == 0:
        return true, nothing
    for row, best in enumerate(iou.argmax(axis=1)):
        if iou[row, best] < threshold:
            continue
        if ignored[best]:
            nothing[row] = True
        elif free[best]:
            true[row] = True
            free[best] = False
    return true, nothing


def match_coco(iou: Floats, ignored: Bools, threshold: float) -> tuple[Bools, Bools]:
    """Match predictions, by descending score, to the truths of one class in one picture.

    Each prediction takes the best of the truths still free at ``iou >= threshold``; only when there
    is none does it fall to an ignored one, which then counts as nothing and takes any number.
    Returns (true, ignored) masks (n,). Source: COCO API, COCOeval.evaluateImg (ignored truths as
    its crowds).
    """
    count, truths = iou.shape
    true, nothing = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    free = ~ignored
    limit = min(threshold, 1 - 1e-10)
    for row in range(count if truths else 0):
        candidates = np.where(free, iou[row], -1.0)
        # Of equal overlaps COCO takes the last.
        best = truths - 1 - int(candidates[::-1].argmax())
        if candidates[best] >= limit:
            true[row] = True
            free[best] = False
        elif (iou[row, ignored] >= limit).any():
            nothing[row] = True
    return true, nothing


def evaluate(
    predictions: Sequence[Predictions],
    ground_truth: Sequence[GroundTruth],
    num_classes: int,
    iou_threshold: float = 0.5,
    method: Method = "voc",
    max_detections: int | None = None,
) -> Evaluation:
    """Return AP per class and mAP of the predictions for a list of pictures.

    ``method`` chooses matching and interpolation: ``voc07`` and ``voc`` as in Pascal VOC, ``coco``
    as in COCO (there 100 detections a picture are customary: ``max_detections``, applied to each
    class of a picture). Classes without truth have AP NaN and are left out of the mean. Raises
    ValueError when the two lists differ in length or a label is not in 0..num_classes-1.
    """
    _check(predictions, ground_truth, num_classes)
    results = [
        _evaluate_class(predictions, ground_truth, label, iou_threshold, method, max_detections)
        for label in range(num_classes)
    ]
    aps = [result.ap for result in results if result.truths]
    return Evaluation(results, float(np.mean(aps)) if aps else float("nan"))


def coco_map(
    predictions: Sequence[Predictions],
    ground_truth: Sequence[GroundTruth],
    num_classes: int,
    max_detections: int = 100,
) -> float:
    """Return COCO's AP@[.5:.95]: the mean over ten IoU thresholds and the classes present.

    Source: Lin et al. 2014 and the COCO detection evaluation page.
    """
    values = [
        evaluate(predictions, ground_truth, num_classes, t, "coco", max_detections).mean_ap
        for t in COCO_THRESHOLDS
    ]
    return float(np.mean(values))


def _check(
    predictions: Sequence[Predictions], ground_truth: Sequence[GroundTruth], num_classes: int
) -> None:
    if len(predictions) != len(ground_truth):
        raise ValueError(
            f"evaluate: predictions for {len(predictions)} pictures, truth for {len(ground_truth)}"
        )
    for labels in [p.labels for p in predictions] + [t.labels for t in ground_truth]:
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f"evaluate: labels must be in 0..{num_classes - 1}")


def _evaluate_class(
    predictions: Sequence[Predictions],
    ground_truth: Sequence[GroundTruth],
    label: int,
    threshold: float,
    method: Method,
    max_detections: int | None,
) -> ClassResult:
    # One empty entry each, so that no pictures at all can be joined too.
    scores: list[Floats] = [np.zeros(0)]
    hits, nothings = [np.zeros(0, dtype=bool)], [np.zeros(0, dtype=bool)]
    truths = 0
    for found, truth in zip(predictions, ground_truth, strict=True):
        mine = np.flatnonzero(found.labels == label)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:max_detections]
        wanted = truth.labels == label
        ignored = truth.difficult[wanted]
        truths += int((~ignored).sum())
        hit, nothing = _match(found.boxes[mine], truth.boxes[wanted], ignored, threshold, method)
        scores.append(found.scores[mine])
        hits.append(hit)
        nothings.append(nothing)
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    hit, nothing = np.concatenate(hits), np.concatenate(nothings)
    order = order[~nothing[order]]
    true = np.cumsum(hit[order])
    precision = true / np.arange(1, len(order) + 1)
    recall = true / max(truths, 1)
    ap = average_precision(recall, precision, method) if truths else float("nan")
    return ClassResult(ap, recall, precision, score[order], truths)


def _match(
    boxes: Floats, truth: Floats, ignored: Bools, threshold: float, method: Method
) -> tuple[Bools, Bools]:
    iou = box_iou(boxes.astype(np.float64), truth.astype(np.float64))
    if method != "coco":
        return match_voc(iou, ignored, threshold)
    # Over an ignored region COCO divides by the prediction's area alone.
    area = np.maximum(box_area(boxes), 1e-12)
    iou[:, ignored] = intersection(boxes, truth[ignored]) / area[:, None]
    return match_coco(iou, ignored, threshold)


def proposal_recall(
    proposals: Sequence[ArrayLike],
    ground_truth: Sequence[GroundTruth],
    counts: Sequence[int],
    iou: float = 0.5,
) -> Floats:
    """Return the share (len(counts),) of truths that the first ``count`` proposals reach.

    ``proposals`` are the boxes of each picture, best first; difficult truths are left out. The
    result is NaN when there is no truth. Source: Uijlings et al. 2013, section 5.
    """
    if len(proposals) != len(ground_truth):
        raise ValueError(
            f"proposal_recall: {len(proposals)} proposal lists for {len(ground_truth)} pictures"
        )
    first = [np.zeros(0)]
    for boxes, truth in zip(proposals, ground_truth, strict=True):
        reached = box_iou(truth.boxes[~truth.difficult], boxes) >= iou
        # A last column that is always reached, of infinite rank, stands for "never".
        ranks = np.append(np.arange(reached.shape[1], dtype=np.float64), np.inf)
        never = np.ones((len(reached), 1), dtype=bool)
        first.append(ranks[np.concatenate([reached, never], axis=1).argmax(axis=1)])
    ranks = np.concatenate(first)
    if ranks.size == 0:
        return np.full(len(counts), np.nan)
    return np.array([np.mean(ranks < count) for count in counts])
