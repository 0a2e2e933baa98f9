"""The experiments of the sixth chapter show what the book says they show."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core.data import ArrayDataset, embedded_digits
from core.look import learning


@pytest.fixture(scope="module")
def digits() -> ArrayDataset:
    return embedded_digits("train")


@pytest.fixture(autouse=True)
def seeded() -> None:
    core.seed(0)


def test_optimizers_walk_as_computed_by_hand() -> None:
    found = learning.optimizer_paths(steps=2)
    # Gradient (x / 10, 2 y) at (-7, 2) is (-0.7, 4).
    np.testing.assert_allclose(found["SGD"][0], [-7, 2])
    np.testing.assert_allclose(found["SGD"][1], [-7 + 0.95 * 0.7, 2 - 0.95 * 4])
    np.testing.assert_allclose(found["Momentum"][1], [-7 + 0.07, 2 - 0.4])
    np.testing.assert_allclose(
        found["Momentum"][2], [-6.93 + 0.9 * 0.07 + 0.0693, 1.6 - 0.9 * 0.4 - 0.32]
    )
    np.testing.assert_allclose(found["AdaGrad"][1], [-5.5, 0.5])
    np.testing.assert_allclose(found["Adam"][1], [-6.7, 1.7])


def test_every_optimizer_but_plain_sgd_comes_near_the_bottom_of_the_valley() -> None:
    ends = {name: track[-1] for name, track in learning.optimizer_paths().items()}
    assert all(learning.valley(*end) < 0.2 for end in ends.values())
    # The zigzag: plain SGD crosses the valley in every step.
    track = learning.optimizer_paths()["SGD"]
    assert (np.sign(track[1:, 1]) != np.sign(track[:-1, 1])).all()


def test_first_weights_decide_about_the_activations() -> None:
    layers = learning.activation_histograms()
    saturated = layers["sigmoid, std 1"][-1]
    assert ((saturated < 0.1) | (saturated > 0.9)).mean() > 0.5
    assert layers["sigmoid, std 0.01"][-1].std() < 0.03
    assert layers["sigmoid, Xavier"][-1].std() > 0.1
    shrunk, kept = layers["ReLU, Xavier"], layers["ReLU, He"]
    assert shrunk[-1].std() < 0.5 * shrunk[0].std()
    assert kept[-1].std() > 0.7 * kept[0].std()


def test_batch_norm_learns_where_small_weights_do_not(digits: ArrayDataset) -> None:
    courses = learning.batch_norm_effect(digits, epochs=12, scales=[0.01])
    with_norm, without = courses["std 0.01"]
    assert with_norm[-1] > 0.6 > 0.3 > without[-1]


def test_regularised_networks_do_not_learn_the_samples_by_heart(digits: ArrayDataset) -> None:
    test = embedded_digits("test")
    courses = learning.overfitting(digits, test, epochs=120, samples=60)
    plain = courses["nothing"]
    assert plain.train[-1] == 1.0 > plain.test[-1] + 0.2
    assert max(courses["weight decay 0.1"].train) < 1.0
    assert max(courses["dropout 0.2"].train) < 1.0
    assert len(courses["dropout 0.2"].test) == 120
