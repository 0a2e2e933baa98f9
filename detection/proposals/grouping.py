"""Hierarchical grouping: the two most similar neighbours become one, until one is left."""

import numpy as np
from numpy.typing import NDArray

from detection.proposals.regions import Regions

Floats = NDArray[np.float32]
NEVER = np.float32(-1.0)


class Grouping:
    """The state of one grouping: who is left, who touches whom, and how alike they are.

    ``terms`` names the similarities that are added up: ``C`` colour, ``T`` texture, ``S`` size,
    ``F`` fill. A merged pair takes the place of its first region, the other place dies. All
    pairs are kept in one matrix, of which a merge rewrites one row and column: its maximum costs
    less than a priority queue with its stale entries.
    Source: Uijlings et al. 2013, algorithm 1 and equations 1 to 6.
    """

    def __init__(self, regions: Regions, terms: str) -> None:
        unknown = set(terms) - set("CTSF")
        if unknown or not terms:
            raise ValueError(f"similarity: expected letters of 'CTSF', got {terms!r}")
        histograms = [regions.colour] * ("C" in terms) + [regions.texture] * ("T" in terms)
        empty = np.zeros((len(regions.sizes), 0), dtype=np.float32)
        # The sum of minima over the joined histograms is the sum of both similarities.
        self.histograms = np.concatenate([empty, *histograms], axis=1)
        self.sizes = regions.sizes / np.float32(regions.area)
        self.boxes = regions.boxes.copy()
        self.adjacent = regions.adjacent.copy()
        self.scale = np.float32(1 / regions.area)
        self.by_size, self.by_fill = "S" in terms, "F" in terms
        self.similar = np.full(self.adjacent.shape, NEVER)
        first, second = np.nonzero(self.adjacent)
        self.similar[first, second] = self._similarity(first, second)

    def _similarity(self, first: NDArray[np.int64] | int, second: NDArray[np.int64]) -> Floats:
        total = np.minimum(self.histograms[first], self.histograms[second]).sum(axis=1)
        together = self.sizes[first] + self.sizes[second]
        if self.by_size:
            total += 1 - together
        if self.by_fill:
            a, b = self.boxes[first], self.boxes[second]
            extent = np.maximum(a[..., 2:], b[:, 2:]) - np.minimum(a[..., :2], b[:, :2])
            total += 1 + together - extent[:, 0] * extent[:, 1] * self.scale
        return total

    def merge(self) -> Floats:
        """Merge the most similar pair of neighbours and return the new region's box (4,)."""
        i, j = divmod(int(self.similar.argmax()), len(self.similar))
        size_i, size_j = self.sizes[i], self.sizes[j]
        self.sizes[i] = size_i + size_j
        weighted = self.histograms[i] * size_i + self.histograms[j] * size_j
        self.histograms[i] = weighted / self.sizes[i]
        np.minimum(self.boxes[i, :2], self.boxes[j, :2], out=self.boxes[i, :2])
        np.maximum(self.boxes[i, 2:], self.boxes[j, 2:], out=self.boxes[i, 2:])

        neighbours = self.adjacent[i] | self.adjacent[j]
        neighbours[[i, j]] = False
        self.adjacent[j] = self.adjacent[:, j] = False
        self.adjacent[i] = self.adjacent[:, i] = neighbours
        self.similar[j] = self.similar[:, j] = NEVER
        others = np.flatnonzero(neighbours)
        self.similar[i, others] = self.similar[others, i] = self._similarity(i, others)
        return self.boxes[i].copy()


def hierarchy(regions: Regions, terms: str) -> Floats:
    """Return the boxes (2 n - 1, 4) of all regions that ever existed, the whole picture first."""
    grouping = Grouping(regions, terms)
    merged = [grouping.merge() for _ in range(len(regions.sizes) - 1)]
    return np.concatenate([np.array(merged[::-1]).reshape(-1, 4), regions.boxes[::-1]])
