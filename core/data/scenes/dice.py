"""The scenes' own source of chance: the same numbers with every version of NumPy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.data.rng import Draws

T = TypeVar("T")
_BLOCK = 64


class Dice:
    """Random choices for one item of a data set, a function of the set's key and the index.

    NumPy promises no stable stream for `Generator`, and a data set's name promises stable data:
    hence the counter-based numbers of `core.data.rng`.
    """

    def __init__(self, key: str, index: int) -> None:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
        self._draws = Draws(seed, 0, np.array([index]))
        self._waiting: list[float] = []

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        if not self._waiting:
            self._waiting = self._draws(_BLOCK)[0].tolist()
        return low + (high - low) * self._waiting.pop()

    def integer(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return min(int(self.uniform(low, high + 1)), high)

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.integer(0, len(options) - 1)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Return the options in random order."""
        order = list(options)
        for last in range(len(order) - 1, 0, -1):
            other = self.integer(0, last)
            order[last], order[other] = order[other], order[last]
        return order

    def noise(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return bell-shaped noise of mean 0 and variance 1 (the sum of two uniforms)."""
        count = int(np.prod(shape))
        halves = self._draws(2 * count)[0].astype(np.float32).reshape(2, *shape)
        return (halves[0] + halves[1] - np.float32(1)) * np.float32(6**0.5)
