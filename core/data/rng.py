"""Random numbers that depend on (seed, epoch, sample) and on nothing else.

Augmentation draws from here, vectorised over a batch: a sample gets the same numbers whatever
batch, order or thread it is processed in, so a loader can prefetch and resume exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words one to one (the output function of SplitMix64)."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def uniforms(
    seed: int, epoch: int, indices: NDArray[np.integer], count: int, stream: int = 0
) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1) for each sample, a pure function of its arguments' values.

    `indices` (N,) are the samples' non-negative numbers in the data set; the result is (N, count)
    and row i depends on (seed, epoch, indices[i], stream) only. `stream` separates independent
    draws for the same sample. Raises ValueError on a negative argument or on indices that are
    not a vector of integers.

    Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014), section
    5: SplitMix64, here started at a hash of the key; 53 bits of each word make a float64.
    """
    indices = np.asarray(indices)
    if indices.ndim != 1 or (indices.size and not np.issubdtype(indices.dtype, np.integer)):
        raise ValueError(
            f"uniforms: indices must be a vector of integers, got {indices.dtype} {indices.shape}"
        )
    for name, value in (
        ("seed", seed),
        ("epoch", epoch),
        ("count", count),
        ("stream", stream),
    ):
        if value < 0:
            raise ValueError(f"uniforms: {name} must not be negative, got {value}")
    if indices.size and indices.min() < 0:
        raise ValueError(f"uniforms: indices must not be negative, got {indices.min()}")
    # Arrays of one element, not scalars: NumPy warns when a scalar wraps around.
    key = np.zeros(1, np.uint64)
    for word in (seed, epoch, stream):
        key = _mix(key + np.asarray([word % 2**64], np.uint64) + _GOLDEN)
    start = _mix(key + indices.astype(np.uint64) + _GOLDEN)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    words = _mix(start[:, None] + steps[None, :])
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Draws:
    """A batch's source of random numbers: each call opens the next stream of `uniforms`.

    `indices` (N,) are the samples' numbers in the data set. `draw(count)` returns fresh numbers
    (N, count) in [0, 1). A sample's numbers depend on (seed, epoch, index) and on how many calls
    came before, so a transform must make the same calls for every batch.
    """

    def __init__(self, seed: int, epoch: int, indices: NDArray[np.integer]) -> None:
        self.seed = seed
        self.epoch = epoch
        self.indices = np.asarray(indices)
        self.stream = 0

    def __call__(self, count: int) -> NDArray[np.float64]:
        values = uniforms(self.seed, self.epoch, self.indices, count, self.stream)
        self.stream += 1
        return values

    def rows(self, index: NDArray[np.integer]) -> Draws:
        """The random numbers of some of the samples, from here on."""
        part = Draws(self.seed, self.epoch, self.indices[index])
        part.stream = self.stream
        return part
