"""A game of our own that is seen as a screen and needs no ROM: catch the falling balls."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

ID = "openbook/Catch-v0"
SIDE = 44
BALLS = 10
ACTIONS = ("left", "stay", "right")

_BALL, _PADDLE, _PADDLE_HEIGHT = 4, 8, 2
_DROP, _MOVE = 3, 4
_SLOPES = (-2, -1, 0, 1, 2)
_ENLARGED = 6


class Catch(gym.Env[NDArray[np.uint8], np.int64]):
    """Ten balls fall one after another; the paddle at the bottom is to be under each.

    Observation: the screen, uint8 (44, 44), white on black. A ball falls along a line that the
    walls reflect, so that two screens are needed to see where it goes; marks at the top count
    the balls that are left. Actions: left, stay, right, by four pixels. Reward: 1 for a ball
    caught, -1 for one missed, 0 otherwise; the best return is 10.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  Gymnasium's own

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"Catch: render_mode is {render_mode!r}, expected 'rgb_array' or None")
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (SIDE, SIDE), np.uint8)
        self.action_space = spaces.Discrete(len(ACTIONS))
        self._left = BALLS

    def get_action_meanings(self) -> list[str]:
        """The names of the actions, as Atari environments have them."""
        return [name.upper() for name in ACTIONS]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Ten balls, the paddle in the middle."""
        super().reset(seed=seed)
        self._left = BALLS
        self._paddle = (SIDE - _PADDLE) // 2
        self._throw()
        return self._screen(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Move the paddle, let the ball fall; terminated after the last ball."""
        moved = self._paddle + (int(action) - 1) * _MOVE
        self._paddle = min(max(moved, 0), SIDE - _PADDLE)
        self._fall()
        reward = 0.0
        if self._row >= SIDE - _PADDLE_HEIGHT - _BALL:
            reward = 1.0 if self._caught() else -1.0
            self._left -= 1
            if self._left:
                self._throw()
        return self._screen(), reward, self._left == 0, False, {}

    def render(self) -> NDArray[np.uint8]:
        """The screen enlarged six times, uint8 (264, 264, 3)."""
        return np.repeat(self._screen().repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)[..., None], 3, 2)

    def _throw(self) -> None:
        self._row = 2 * _BALL
        self._column = int(self.np_random.integers(0, SIDE - _BALL + 1))
        self._slope = _SLOPES[int(self.np_random.integers(len(_SLOPES)))]

    def _fall(self) -> None:
        self._row += _DROP
        last = SIDE - _BALL
        column = self._column + self._slope
        if not 0 <= column <= last:
            column = -column if column < 0 else 2 * last - column
            self._slope = -self._slope
        self._column = column

    def _caught(self) -> bool:
        return -_BALL < self._column - self._paddle < _PADDLE

    def _screen(self) -> NDArray[np.uint8]:
        screen = np.zeros((SIDE, SIDE), np.uint8)
        for mark in range(self._left):
            screen[0:2, 2 + 4 * mark : 4 + 4 * mark] = 128
        screen[SIDE - _PADDLE_HEIGHT :, self._paddle : self._paddle + _PADDLE] = 255
        screen[self._row : self._row + _BALL, self._column : self._column + _BALL] = 255
        return screen


def register() -> None:
    """Make `gymnasium.make("openbook/Catch-v0")` work; a second call does nothing."""
    if ID not in gym.registry:
        gym.register(ID, entry_point="dqn.catch:Catch")
