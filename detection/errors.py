"""What kind of mistake is each false positive, and which objects were missed."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detection.boxes import box_iou
from detection.metrics import GroundTruth, Predictions, match_voc

BACKGROUND_BELOW = 0.1


class Outcome(StrEnum):
    """What became of one prediction."""

    CORRECT = "correct"
    LOCALISATION = "localisation"
    DUPLICATE = "duplicate"
    CONFUSION = "confusion"
    BACKGROUND = "background"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Analysis:
    """``outcomes``: one list per picture, in the order of its predictions; ``missed``: one mask
    (truths,) per picture; ``counts``: the number of each outcome and of ``missed``.
    """

    outcomes: list[list[Outcome]]
    missed: list[NDArray[np.bool_]]
    counts: dict[str, int]


def analyse(
    predictions: Sequence[Predictions],
    ground_truth: Sequence[GroundTruth],
    iou_threshold: float = 0.5,
) -> Analysis:
    """Sort all predictions and all missed truths into kinds.

    With t = ``iou_threshold`` and the truth of greatest overlap: *correct* as in VOC; *duplicate*:
    IoU >= t with an object of its class that a higher score has taken; *localisation*: IoU in
    [0.1, t) with its class; *confusion*: IoU >= 0.1 with another class; *background*: the rest;
    *ignored*: on a difficult truth. Tested in this order. A truth is *missed* when no correct
    prediction is on it (difficult ones never are). Predictions are taken as they are: cut them at
    the score of interest first. Source: Hoiem et al. 2012, section 2.1; all other classes count as
    confusable here, and duplicates are kept apart from localisation.
    """
    if len(predictions) != len(ground_truth):
        raise ValueError(
            f"analyse: predictions for {len(predictions)} pictures, truth for {len(ground_truth)}"
        )
    outcomes, missed = [], []
    for found, truth in zip(predictions, ground_truth, strict=True):
        picture_outcomes, picture_missed = _analyse_picture(found, truth, iou_threshold)
        outcomes.append(picture_outcomes)
        missed.append(picture_missed)
    flat = [outcome for picture in outcomes for outcome in picture]
    counts = {str(kind): flat.count(kind) for kind in Outcome}
    counts["missed"] = int(sum(mask.sum() for mask in missed))
    return Analysis(outcomes, missed, counts)


def _analyse_picture(
    found: Predictions, truth: GroundTruth, threshold: float
) -> tuple[list[Outcome], NDArray[np.bool_]]:
    iou = box_iou(found.boxes.astype(np.float64), truth.boxes.astype(np.float64))
    same = found.labels[:, None] == truth.labels[None, :]
    own = np.where(same, iou, 0).max(axis=1, initial=0)
    other = np.where(same, 0, iou).max(axis=1, initial=0)
    correct, ignored = np.zeros(len(iou), dtype=bool), np.zeros(len(iou), dtype=bool)
    missed = ~truth.difficult
    for label in np.unique(found.labels):
        rows, columns = np.flatnonzero(found.labels == label), np.flatnonzero(truth.labels == label)
        rows = rows[np.argsort(-found.scores[rows], kind="stable")]
        part = iou[np.ix_(rows, columns)]
        hit, nothing = match_voc(part, truth.difficult[columns], threshold)
        correct[rows], ignored[rows] = hit, nothing
        if hit.any():
            missed[columns[part[hit].argmax(axis=1)]] = False
    kinds = np.select(
        [correct, ignored, own >= threshold, own >= BACKGROUND_BELOW, other >= BACKGROUND_BELOW],
        [0, 1, 2, 3, 4],
        default=5,
    )
    names = [
        Outcome.CORRECT,
        Outcome.IGNORED,
        Outcome.DUPLICATE,
        Outcome.LOCALISATION,
        Outcome.CONFUSION,
        Outcome.BACKGROUND,
    ]
    return [names[kind] for kind in kinds], missed
