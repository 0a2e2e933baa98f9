"""What a network looks at: a place that matters is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dqn.saliency import saliency, telling_moments


def test_the_place_that_the_values_depend_on_is_found() -> None:
    state = np.zeros((2, 40, 44), np.uint8)
    state[:, 8:12, 30:34] = 255
    state[:, 28:32, 6:10] = 255

    def looks_at_the_first_square(states: NDArray[Any]) -> NDArray[np.float32]:
        brightness = states[:, 1, 4:16, 26:38].astype(np.float32).mean((1, 2))
        return np.stack([brightness, -brightness], axis=1)

    found = saliency(looks_at_the_first_square, state)
    assert found.shape == (40, 44)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 4 <= row < 16 and 26 <= column < 38
    assert found[28:32, 6:10].max() < 0.01 * found.max()


def test_values_that_see_nothing_look_nowhere() -> None:
    state = np.random.default_rng(0).integers(0, 256, (4, 36, 36), dtype=np.uint8)
    found = saliency(lambda states: np.ones((len(states), 3), np.float32), state, stride=9)
    assert (found == 0).all()


def test_telling_moments_are_those_of_the_widest_gap_and_apart() -> None:
    values = np.zeros((100, 2), np.float32)
    values[[10, 12, 50, 90], 0] = (5, 6, 4, 3)
    assert telling_moments(values, 3, apart=10) == [12, 50, 90]
    assert telling_moments(values[:5], 3, apart=10) == [0]


def test_the_cart_is_where_the_state_says() -> None:
    from dqn.cart_pole import picture

    middle, right = (picture(np.array([x, 0, 0, 0], np.float32)) for x in (0, 1))
    assert middle.shape == (240, 480, 3)
    dark = [
        np.flatnonzero(scene[175].max(axis=-1) < 60)[[0, -1]].mean() for scene in (middle, right)
    ]
    assert dark == pytest.approx([240, 340], abs=2)
    leaning = picture(np.array([0, 0, 0.2, 0], np.float32))
    pole = np.argwhere((leaning[..., 0] > 200) & (leaning[..., 2] < 80))
    assert pole[pole[:, 0] < 80][:, 1].mean() > 245
