"""What the pictures show: errors in red, void in white, shares of the true class."""

from __future__ import annotations

import numpy as np

from segmentation.data import load
from segmentation.labels import VOID
from segmentation.metrics import Scores
from segmentation.pictures import comparison, confusion, error_map


def test_errors_are_red_and_void_is_white() -> None:
    truth = np.array([[0, 1, VOID]], np.uint8)
    shown = error_map(truth, np.array([[0, 2, 2]], np.uint8))
    assert shown.tolist() == [[[235, 235, 235], [214, 39, 40], [255, 255, 255]]]


def test_the_legend_names_each_class_with_its_iou() -> None:
    data = load("scenes", "val", count=2)
    matrix = np.zeros((11, 11), np.int64)
    matrix[0, 0], matrix[0, 3], matrix[3, 3] = 6, 2, 2
    figure = comparison(data, [labels for _, labels in data], Scores(matrix))
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[:4] == ["background  0.75", "zero  -", "one  -", "two  0.50"] and len(told) == 11
    suptitle = figure.get_suptitle()
    assert "mIoU 0.625" in suptitle and "scenes, val" in suptitle


def test_confusion_is_in_percent_of_the_true_class() -> None:
    figure = confusion(Scores(np.array([[3, 1, 0], [0, 5, 0], [0, 0, 0]])), ("cat", "dog", "cow"))
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["75", "25", "100"]
