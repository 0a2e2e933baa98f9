"""Both ways down, on a loss whose lowest point is known."""

from typing import Any

import numpy as np
import pytest

from style_transfer.objective import FloatPicture, Losses
from style_transfer.optimise import Descent, descend


class Bowl:
    """Squared distance to a goal, some of it outside 0..1; uneven, so that one step is not all."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.goal = rng.uniform(-0.3, 1.3, (4, 5, 3)).astype(np.float32)
        self.steep = rng.uniform(1, 30, (4, 5, 3)).astype(np.float32)

    def evaluate(self, picture: FloatPicture) -> tuple[Losses, FloatPicture]:
        assert picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1
        away = picture - self.goal
        loss = float((self.steep * away**2).sum())
        return Losses(loss, 0.0, loss, 0.0, {}), 2 * self.steep * away


@pytest.mark.parametrize(("optimizer", "iterations"), [("lbfgs", 120), ("adam", 400)])
def test_it_reaches_the_lowest_point_inside(optimizer: Any, iterations: int) -> None:
    bowl = Bowl()
    seen: list[tuple[FloatPicture, float]] = []

    def watch(picture: FloatPicture, losses: Losses) -> bool:
        seen.append((picture, losses.total))
        return False

    start = np.full((4, 5, 3), 0.5, np.float32)
    descend(bowl, start, Descent(optimizer=optimizer, iterations=iterations), watch)
    assert 0 < len(seen) <= iterations
    lowest = bowl.evaluate(bowl.goal.clip(0, 1))[0].total
    assert seen[-1][1] < 1.02 * lowest < 0.2 * bowl.evaluate(start)[0].total
    for picture, loss in seen[:: len(seen) // 3]:
        assert loss == bowl.evaluate(picture)[0].total
    assert (start == 0.5).all()


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_it_stops_when_told_and_when_done(optimizer: Any) -> None:
    for iterations, stop, expected in ((7, 3, 3), (2, 9, 2), (0, 9, 0)):
        count = 0

        def watch(picture: FloatPicture, losses: Losses, stop: int = stop) -> bool:
            nonlocal count
            count += 1
            return count == stop

        start = np.full((4, 5, 3), 0.5, np.float32)
        descend(Bowl(), start, Descent(optimizer=optimizer, iterations=iterations), watch)
        assert count == expected
