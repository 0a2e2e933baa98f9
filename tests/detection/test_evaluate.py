from collections.abc import Sequence

import numpy as np
import pytest

from detection.data import DetectionData, ScenePicture, load
from detection.detector import Detector, Looked
from detection.evaluate import detect_all, judge, recall_table, thresholds
from detection.metrics import ClassResult, Evaluation, GroundTruth, Predictions
from tests.detection.conftest import MakeDetector


class Known:
    """A picture whose content the oracle below reads from its corner pixel."""

    def __init__(self, number: int, truth: GroundTruth) -> None:
        self.id, self.number, self._truth = str(number), number, truth

    def read(self) -> np.ndarray:
        return np.full((40, 40, 3), self.number, np.uint8)

    def truth(self) -> GroundTruth:
        return self._truth


TRUTHS = [
    GroundTruth(np.array([[0, 0, 10, 10], [20, 20, 30, 30]]), np.array([0, 1])),
    GroundTruth(np.array([[5, 5, 15, 15]]), np.array([0])),
]
DATA = DetectionData("toys", "val", ("cat", "dog"), [Known(i, t) for i, t in enumerate(TRUTHS)])
PROPOSALS = [np.array([[0, 0, 10, 10]]), np.array([[0, 0, 4, 4], [5, 5, 15, 14]])]


class Oracle(Detector):
    """Finds what is there, but takes the dog for background unless boxes are regressed."""

    def __init__(self) -> None:
        self.classes, self.thresholds = ("cat", "dog"), [0.5, 0.5]

    def look(self, picture: np.ndarray, proposals: np.ndarray | None = None) -> Looked:
        boxes = TRUTHS[int(picture[0, 0, 0])].boxes
        scores, deltas = np.zeros((len(boxes), 2), "f"), np.zeros((len(boxes), 2, 4), "f")
        return Looked((40, 40), boxes, scores, scores, deltas)

    def decide(
        self, looked: Looked, *, head: str = "svm", regress: bool = True, min_score: float = -1
    ) -> Predictions:
        truth = next(t for t in TRUTHS if t.boxes is looked.boxes)
        known = np.flatnonzero(regress | (truth.labels == 0))
        scores = np.full(len(known), 0.9 if head == "svm" else 0.1)
        labels = truth.labels[known] if head == "svm" else 1 - truth.labels[known]
        return Predictions(truth.boxes[known], scores, labels)


def test_the_oracle_has_full_marks() -> None:
    judged = judge(Oracle(), DATA, PROPOSALS)
    figures = judged.figures
    assert figures["mAP@0.5"] == figures["mAP@[.5:.95]"] == figures["mAP@0.5 (11 points)"] == 1
    assert figures["AP@0.5"] == {"cat": 1, "dog": 1}
    assert figures["errors"]["correct"] == 3 and figures["errors"]["missed"] == 0
    assert len(judged.predictions) == 2 and judged.evaluation.mean_ap == 1


def test_the_other_heads_are_measured_beside_it() -> None:
    figures = judge(Oracle(), DATA, PROPOSALS).figures
    assert figures["mAP@0.5 without box regression"] == 0.5
    assert figures["mAP@0.5 of the softmax"] == 0


def test_errors_count_what_is_drawn() -> None:
    unsure = Oracle()
    unsure.thresholds = [0.5, 0.95]
    figures = judge(unsure, DATA, PROPOSALS).figures
    assert figures["mAP@0.5"] == 1 and figures["errors"]["missed"] == 1


def test_a_detector_of_other_classes_is_refused(make_detector: MakeDetector) -> None:
    scenes = load("scenes", "val", count=1)
    with pytest.raises(ValueError, match="the detector knows cat, dog"):
        judge(make_detector(), scenes, [np.zeros((0, 4), np.float32)])


def test_each_picture_needs_its_proposals() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(detect_all(Oracle(), DATA, PROPOSALS[:1]))


def test_recall_by_number_of_proposals() -> None:
    table = recall_table(DATA, PROPOSALS)
    assert table == {"2": pytest.approx(2 / 3), "mean_number": 1.5}
    far = np.tile([[30, 0, 38, 8]], (60, 1))
    late = [np.concatenate([far, p]) for p in PROPOSALS]
    table = recall_table(DATA, late)
    assert table == {"50": 0, "62": pytest.approx(2 / 3), "mean_number": 61.5}


def curve(precision: Sequence[float], recall: Sequence[float], truths: int) -> ClassResult:
    scores = np.array([4.0, 3.0, 2.0, 1.0])[: len(recall)]
    return ClassResult(0.0, np.array(recall), np.array(precision), scores, truths)


def test_thresholds_are_where_f1_is_best() -> None:
    # F1: 0.4, 0.67, 0.75, 0.67.
    third = curve([1, 1, 0.75, 0.6], [0.25, 0.5, 0.75, 0.75], 4)
    nothing_found = curve([], [], 3)
    no_truth = curve([0, 0], [0, 0], 0)
    points = thresholds(Evaluation([third, nothing_found, no_truth], 0.5))
    assert points == [2.0, 0.0, 0.0]


def test_a_class_that_is_always_wrong_has_a_point_too() -> None:
    assert thresholds(Evaluation([curve([0, 0], [0, 0], 3)], 0)) == [4.0]


def test_scene_pictures_are_pictures() -> None:
    picture = load("scenes", "val", count=1).pictures[0]
    assert isinstance(picture, ScenePicture)
    assert picture.truth().labels.tolist() == picture.scene.labels.tolist()
