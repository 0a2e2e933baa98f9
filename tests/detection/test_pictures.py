import numpy as np

from detection import pictures
from detection.data import DetectionData, load
from detection.evaluate import Judged
from detection.metrics import GroundTruth, Predictions, evaluate

NOTHING = Predictions(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))
FOUND = Predictions(np.array([[2, 3, 12, 13]]), np.array([0.75]), np.array([1]))


def test_small_pictures_are_enlarged_and_large_ones_are_not() -> None:
    small = np.random.default_rng(0).integers(0, 256, (30, 70, 3)).astype(np.uint8)
    shown = pictures.annotate(small, NOTHING, ("cat", "dog"))
    assert shown.shape == (180, 420, 3) and shown.dtype == np.uint8
    large = np.zeros((50, 900, 3), np.uint8)
    np.testing.assert_array_equal(pictures.annotate(large, NOTHING, ("cat", "dog")), large)


def test_boxes_are_drawn_where_they_are() -> None:
    plain = np.full((60, 60, 3), 128, np.uint8)
    changed = (pictures.annotate(plain, FOUND, ("cat", "dog")) != 128).any(axis=2)
    y, x = np.nonzero(changed)
    # Enlarged seven times; the text may stand beside the box, but on no other side of it.
    assert abs(x.min() - 2 * 7) <= 4 and abs(y.max() - 13 * 7) <= 4
    assert not changed[30 * 7 :].any()


def test_figures_of_a_data_set() -> None:
    data = load("scenes", "val", count=3)
    found = [FOUND, NOTHING, FOUND]
    figure = pictures.detections(data, found, count=2, title="digits")
    assert len([a for a in figure.axes if a.images]) == 2
    proposals = [np.array([[0, 0, 50, 50], [9, 9, 40, 44]], np.float32)] * 2
    figure = pictures.proposals(data, [*proposals, np.zeros((0, 4), np.float32)])
    titles = [axis.get_title() for axis in figure.axes]
    assert len(titles) == 3
    assert titles[0].startswith("2 proposals, best IoU 0.") and titles[2] == "0 proposals"


def test_the_best_proposal_of_each_object() -> None:
    truth = GroundTruth(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0, 1]))
    candidates = np.array([[21, 0, 31, 10], [0, 0, 10, 5], [0, 0, 10, 9]], np.float32)
    best, overlaps = pictures._best(candidates, truth)
    np.testing.assert_array_equal(best, candidates[[2, 0]])
    np.testing.assert_allclose(overlaps, [0.9, 9 / 11], rtol=1e-6)


def test_curves_of_the_classes_that_occur() -> None:
    truth = [GroundTruth(np.array([[2, 3, 12, 13]]), np.array([1]))]
    judged = Judged([FOUND], evaluate([FOUND], truth, 2), {})
    figure = pictures.precision_recall(judged, ("cat", "dog"), "title")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert len(labels) == 1 and "dog" in labels[0] and "1.0" in labels[0]


def test_no_truth_at_all_is_no_obstacle() -> None:
    truth = [GroundTruth(np.zeros((0, 4)), np.zeros(0, int))]
    judged = Judged([FOUND], evaluate([FOUND], truth, 2), {})
    assert pictures.precision_recall(judged, ("cat", "dog")).axes
    empty = DetectionData("toys", "val", ("cat", "dog"), load("scenes", "val", count=1).pictures)
    assert pictures.detections(empty, [NOTHING]).axes
