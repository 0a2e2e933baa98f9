import numpy as np
from numpy.typing import ArrayLike

from detection.boxes import as_boxes
from detection.errors import Outcome, analyse
from detection.metrics import GroundTruth, Predictions

A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]


def found_as(boxes: ArrayLike, scores: ArrayLike, labels: ArrayLike) -> Predictions:
    return Predictions(as_boxes(boxes), np.asarray(scores), np.asarray(labels, np.int64))


def truth_as(boxes: ArrayLike, labels: ArrayLike, difficult: ArrayLike = ()) -> GroundTruth:
    return GroundTruth(as_boxes(boxes), np.asarray(labels, np.int64), np.asarray(difficult, bool))


def test_every_kind_of_mistake() -> None:
    boxes = np.array([A, A, [0, 0, 10, 3], B, [60, 60, 70, 70], C])
    found = found_as(boxes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0, 0, 0, 0, 0, 1])
    truth = truth_as([A, B, C], [0, 1, 1], [False, False, True])
    result = analyse([found], [truth])
    assert result.outcomes == [
        [
            Outcome.CORRECT,
            Outcome.DUPLICATE,
            Outcome.LOCALISATION,
            Outcome.CONFUSION,
            Outcome.BACKGROUND,
            Outcome.IGNORED,
        ]
    ]
    np.testing.assert_array_equal(result.missed[0], [False, True, False])
    assert result.counts["missed"] == 1
    assert sum(result.counts.values()) == 7


def test_the_higher_score_is_the_correct_one() -> None:
    found = found_as([A, A], [0.1, 0.9], [0, 0])
    result = analyse([found], [truth_as([A], [0])])
    assert result.outcomes == [[Outcome.DUPLICATE, Outcome.CORRECT]]


def test_empty_pictures() -> None:
    nothing = found_as([], [], [])
    result = analyse([nothing, nothing], [truth_as([A], [0]), truth_as([], [])])
    assert result.outcomes == [[], []]
    assert result.counts["missed"] == 1
    found = found_as([A], [0.5], [0])
    assert analyse([found], [truth_as([], [])]).counts["background"] == 1
