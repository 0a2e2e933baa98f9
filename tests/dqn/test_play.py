"""Playing: side by side as alone, and with random actions as many as asked for."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dqn.environments import Protocol, make
from dqn.play import choose, play


def upright(states: NDArray[Any], foresight: float = 0.3) -> NDArray[np.float32]:
    """Push to where the pole falls."""
    lean = states[:, 2] + foresight * states[:, 3]
    return np.stack([-lean, lean], axis=1).astype(np.float32)


def test_episodes_side_by_side_are_those_played_alone() -> None:
    def short_sighted(states: NDArray[Any]) -> NDArray[np.float32]:
        return upright(states, 0.0)

    seeds = [5, 6, 7, 8, 9]
    alone = play([make("CartPole-v1", Protocol())], short_sighted, seeds)
    together = play([make("CartPole-v1", Protocol()) for _ in range(3)], short_sighted, seeds)
    assert alone == together
    assert len({episode.length for episode in alone}) > 1
    assert all(episode.total == episode.length for episode in alone)


def test_a_limit_of_time_is_told_apart() -> None:
    (long,) = play([make("CartPole-v1", Protocol())], upright, [1])
    (short,) = play([make("CartPole-v1", Protocol())], lambda s: -upright(s), [1])
    assert (short.truncated, short.length < 20) == (False, True)
    assert (long.truncated, long.length) == (True, 500)


def test_epsilon_is_the_share_of_random_actions() -> None:
    def values(states: NDArray[Any]) -> NDArray[np.float32]:
        return np.tile(np.array([0, 1, 0, 0], np.float32), (len(states), 1))

    rng = np.random.default_rng(0)
    states = np.zeros((8000, 1), np.float32)
    assert (choose(values, states, 0.0, rng) == 1).all()
    shares = np.bincount(choose(values, states, 0.4, rng), minlength=4) / 8000
    assert shares == pytest.approx([0.1, 0.7, 0.1, 0.1], abs=0.02)
    assert np.bincount(choose(values, states, 1.0, rng)) == pytest.approx([2000] * 4, rel=0.1)
