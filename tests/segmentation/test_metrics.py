"""Every metric on cases that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from segmentation.metrics import Scores, boundary_f1, confusion_matrix

V = 255


def labels(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def test_the_matrix_counts_true_by_predicted_and_leaves_void_out() -> None:
    truth = labels([0, 0, 1], [1, V, 2])
    predicted = labels([0, 1, 1], [1, 2, 0])
    expected = [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert confusion_matrix(truth, predicted, 3).tolist() == expected


def test_all_figures_of_a_matrix_computed_by_hand() -> None:
    # Long et al. 2015, section 5: n_ij pixels of class i predicted as j, t_i = sum of row i.
    scores = Scores(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 8]]))
    assert scores.class_iou == pytest.approx([6 / 9, 3 / 6, 1])
    assert scores.class_accuracy == pytest.approx([6 / 8, 3 / 4, 1])
    assert scores.figures() == pytest.approx(
        {
            "mIoU": (6 / 9 + 3 / 6 + 1) / 3,
            "global_accuracy": 17 / 20,
            "class_accuracy": (0.75 + 0.75 + 1) / 3,
            "frequency_weighted_IoU": (8 * 6 / 9 + 4 * 3 / 6 + 8 * 1) / 20,
        }
    )


def test_a_class_that_is_nowhere_does_not_count_and_a_false_alarm_does() -> None:
    absent = Scores(np.array([[3, 0, 0], [0, 1, 0], [0, 0, 0]]))
    assert absent.mean_iou == 1 and np.isnan(absent.class_iou[2])
    assert absent.figures()["class_accuracy"] == 1
    alarm = Scores(np.array([[3, 0, 1], [0, 1, 0], [0, 0, 0]]))
    assert alarm.class_iou == pytest.approx([3 / 4, 1, 0])
    assert alarm.figures()["frequency_weighted_IoU"] == pytest.approx((4 * 3 / 4 + 1) / 5)
    assert np.isnan(Scores(np.zeros((2, 2), int)).mean_iou)


def test_the_table_names_the_classes() -> None:
    table = Scores(np.array([[6, 2], [1, 3]])).table(("cat", "dog"))
    assert table["dog"] == {"IoU": pytest.approx(0.5), "accuracy": pytest.approx(0.75), "pixels": 4}


def test_wrong_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"prediction \(1, 2\) for a truth \(2, 1\)"):
        confusion_matrix(labels([0], [0]), labels([0, 0]), 2)
    with pytest.raises(ValueError, match="class 3 was predicted, expected 0 to 1"):
        confusion_matrix(labels([0]), labels([3]), 2)


def half(column: int, height: int = 6, width: int = 20) -> np.ndarray:
    """Class 1 from `column` on, class 0 before it."""
    whole = np.zeros((height, width), np.uint8)
    whole[:, column:] = 1
    return whole


def test_boundaries_within_the_tolerance_are_found() -> None:
    # The diagonal is 20.9 pixels: 0.1 of it reaches 2 of them.
    for shift, expected in ((0, 1.0), (2, 1.0), (3, 0.0)):
        assert boundary_f1(half(8), half(8 + shift), 2, tolerance=0.1) == expected


def test_boundary_f1_of_one_class_too_many() -> None:
    truth, predicted = half(8), half(8)
    predicted[:, 15:] = 2
    # Class 0: all found. Class 1: true edge 6 pixels, predicted 12. Class 2: a false alarm.
    recall, precision = 1, 6 / 12
    expected = (1 + 2 * precision * recall / (precision + recall) + 0) / 3
    assert boundary_f1(truth, predicted, 3, tolerance=0.05) == pytest.approx(expected)


def test_boundaries_to_void_do_not_count() -> None:
    truth, predicted = half(8), half(8)
    truth[:, 12:] = V
    predicted[:, 14:] = 0
    assert boundary_f1(truth, predicted, 2) == 1
    assert np.isnan(boundary_f1(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), 2))
