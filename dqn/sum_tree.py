"""A binary tree of sums: draw numbers in proportion to priorities that keep changing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class SumTree:
    """Priorities of `capacity` places; a change or a draw takes log2(capacity) steps.

    Schaul et al. 2016, appendix B.2.1. Node 1 is the root, the children of node i are 2 i and
    2 i + 1, and the leaves are the places in order.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"SumTree: capacity is {capacity}, expected 1 or more")
        self.capacity = capacity
        self.depth = (capacity - 1).bit_length()
        self._first = 1 << self.depth
        self._sums = np.zeros(2 * self._first)

    @property
    def total(self) -> float:
        """The sum of all priorities."""
        return float(self._sums[1])

    def __getitem__(self, places: Any) -> Any:
        """The priorities of places, an array or one number."""
        return self._sums[self._first + places]

    def set(self, places: NDArray[np.int64], priorities: Any) -> None:
        """Change priorities (n,); of a place that comes twice the last one counts."""
        nodes = self._first + np.atleast_1d(places)
        self._sums[nodes] = priorities
        for _ in range(self.depth):
            nodes = nodes >> 1
            left = 2 * nodes
            self._sums[nodes] = self._sums[left] + self._sums[left + 1]

    def find(self, masses: NDArray[np.float64]) -> NDArray[np.int64]:
        """The places (n,) where the running sum of priorities first exceeds `masses`.

        masses: numbers in [0, total).
        """
        nodes, left = np.ones(len(masses), np.int64), masses.copy()
        for _ in range(self.depth):
            nodes = 2 * nodes
            passed = self._sums[nodes]
            # Where rounding would lead into an empty branch, the full one is taken.
            right = (left >= passed) & (self._sums[nodes + 1] > 0)
            left = np.where(right, left - passed, left)
            nodes = nodes + right
        return nodes - self._first

    def state_dict(self) -> dict[str, Any]:
        """The priorities of all places."""
        return {"priorities": self._sums[self._first : self._first + self.capacity]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError for another capacity."""
        priorities = np.asarray(state["priorities"], np.float64)
        if priorities.shape != (self.capacity,):
            raise ValueError(f"priorities of {priorities.shape}, expected ({self.capacity},)")
        self._sums[self._first : self._first + self.capacity] = priorities
        for level in range(self.depth - 1, -1, -1):
            at = 1 << level
            below = self._sums[2 * at : 4 * at]
            self._sums[at : 2 * at] = below[0::2] + below[1::2]
