"""Errors, confusions and mistakes on cases that were worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from core import Tensor, nn
from core.data.preprocess import Preprocessing
from core.io.weights import Card
from core.models import Pretrained
from core.training.evaluation import Judged, load_networks, most_confused, probabilities


class Brightness(nn.Module):
    """Logits (N, 2): the mean of the left half of a picture, and of the right."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[3] // 2
        halves = x.reshape(x.shape[0], x.shape[2], 2, half).mean(dim=(1, 3))
        return halves * self.scale


def network(size: int = 4) -> Pretrained:
    model = Brightness().eval()
    return Pretrained("b", model, Card(classes=("left", "right")), Preprocessing(size=size))


def lit(side: str) -> np.ndarray:
    picture = np.zeros((4, 4), np.uint8)
    picture[:, :2] = 255 if side == "left" else 0
    picture[:, 2:] = 255 if side == "right" else 0
    return picture


def test_probabilities_are_those_of_the_softmax() -> None:
    said = probabilities(network(), [lit("left"), lit("right"), lit("none")])
    high = np.e / (np.e + 1)
    expected = [[high, 1 - high], [1 - high, high], [0.5, 0.5]]
    np.testing.assert_allclose(said, expected, rtol=1e-6)


def test_views_are_averaged() -> None:
    np.testing.assert_allclose(
        probabilities(network(), [lit("left")], flip=True), [[0.5, 0.5]], rtol=1e-6
    )
    wide = np.concatenate([lit("left"), lit("none")], axis=1)
    many = probabilities(network(), [wide, wide], crops=5)
    assert many.shape == (2, 2)
    np.testing.assert_allclose(many.sum(axis=1), 1, rtol=1e-6)


JUDGED = Judged(
    np.array(
        [
            [0.7, 0.1, 0.1, 0.05, 0.03, 0.02, 0.0],
            [0.1, 0.3, 0.4, 0.1, 0.05, 0.03, 0.02],
            [0.9, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01],
            [0.5, 0.2, 0.1, 0.08, 0.06, 0.04, 0.02],
        ],
        np.float32,
    ),
    np.array([0, 1, 5, 6]),
)


def test_errors() -> None:
    assert JUDGED.error() == 0.75
    assert JUDGED.error(2) == 0.5
    assert JUDGED.error(5) == 0.5
    figures = JUDGED.figures()
    assert (figures["top1_error"], figures["top5_error"], figures["accuracy"]) == (0.75, 0.5, 0.25)
    assert figures["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.01, 0.02]).mean(), rel=1e-5)


def test_a_classifier_that_says_nothing_is_wrong() -> None:
    same = Judged(np.full((3, 10), 0.1, np.float32), np.arange(3))
    assert same.error() == 1 and same.error(5) == 1
    few = Judged(np.eye(3, dtype=np.float32), np.arange(3))
    assert "top5_error" not in few.figures()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_wrong(value: float) -> None:
    some = np.eye(6, dtype=np.float32)
    some[[0, 2]] = value
    judged = Judged(some, np.array([0, 1, 5, 3, 4, 0]))
    assert [judged.error(k) for k in (1, 5, 6)] == pytest.approx([0.5, 0.5, 1 / 3])
    assert judged.figures()["accuracy"] == 0.5
    assert judged.confusion().sum() == 4 and judged.confusion().diagonal().sum() == 3
    assert set(judged.worst(9)) == {0, 2, 5}


def test_confusions_and_the_worst_mistakes() -> None:
    matrix = JUDGED.confusion()
    assert matrix[0, 0] == matrix[1, 2] == matrix[5, 0] == matrix[6, 0] == 1
    assert matrix.sum() == 4
    assert JUDGED.worst(2).tolist() == [2, 3]
    assert JUDGED.worst(9).tolist() == [2, 3, 1]


def test_of_many_classes_those_with_mistakes_are_drawn() -> None:
    matrix = JUDGED.confusion()
    classes = tuple("abcdefg")
    small, names = most_confused(matrix, classes, 2)
    assert names == ["a", "b", "other"]
    assert small.tolist() == [[1, 0, 0], [0, 0, 1], [2, 0, 0]]
    assert most_confused(matrix, classes, 7)[1] == list(classes)


def test_networks_that_do_not_go_together() -> None:
    settings = {"architecture": None, "data_root": None, "device": "cpu"}
    with pytest.raises(ValueError, match="name at least one"):
        load_networks([], **settings)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="--weights digit: no such file, and none of"):
        load_networks(["digit"], **settings)  # type: ignore[arg-type]
