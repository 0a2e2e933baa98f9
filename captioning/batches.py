"""From captioned pictures to batches: sentences of like length together, filled up and masked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioning.words import PAD
from core.data.loader import DataLoader, workers_for
from core.data.rng import Draws

# Sentences are sorted by length within so many batches, which are then shuffled.
_POOL = 40

Order = Callable[[np.random.Generator], NDArray[np.int64]]


class Batch(NamedTuple):
    """Pictures with sentences. `words` is first, so that a trainer counts sentences."""

    words: NDArray[np.int64]
    """(M, T): BEGIN, the words, END, then PAD."""

    owner: NDArray[np.int64]
    """(M,): which of the inputs each sentence is about."""

    inputs: NDArray[Any]
    """(N, ...): what is known of the pictures, each once."""

    read: NDArray[np.int64]
    """(M, T - 1): the words that the network reads, those of `words` or others."""


class Sentences:
    """A data set of (picture, sentence) pairs: the place of the picture, and the words.

    `inputs` (N, ...) has pictures or their features, `encoded` for each the sentences as numbers.
    """

    def __init__(self, inputs: NDArray[Any], encoded: Sequence[Sequence[list[int]]]) -> None:
        self.inputs = inputs
        self._pairs = [(n, words) for n, several in enumerate(encoded) for words in several]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int, /) -> tuple[int, list[int]]:
        return self._pairs[index]

    def collate(self, items: Sequence[tuple[int, list[int]]]) -> Batch:
        """One batch of pairs; a picture that has several sentences in it is there once."""
        pictures, owner = np.unique([picture for picture, _ in items], return_inverse=True)
        words = padded([words for _, words in items])
        return Batch(words, owner, self.inputs[pictures], words[:, :-1])

    def by_length(self, batch_size: int) -> Order:
        """An order in which the sentences of a batch are of about the same length."""
        lengths = np.array([len(words) for _, words in self._pairs])

        def order(rng: np.random.Generator) -> NDArray[np.int64]:
            drawn = rng.permutation(len(lengths))
            pools = [
                drawn[i : i + _POOL * batch_size] for i in range(0, len(drawn), _POOL * batch_size)
            ]
            whole = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pools])
            full = len(whole) // batch_size * batch_size
            batches = rng.permutation(whole[:full].reshape(-1, batch_size))
            # A batch that is not full has to be the last one.
            return np.concatenate([batches.ravel(), whole[full:]])

        return order

    def by_picture(self) -> Order:
        """An order in which the sentences of a picture come together: it is looked at once."""
        owner = np.array([picture for picture, _ in self._pairs])

        def order(rng: np.random.Generator) -> NDArray[np.int64]:
            place = rng.permutation(len(self.inputs))
            return np.argsort(place[owner], kind="stable")

        return order

    def batches(
        self,
        batch_size: int,
        seed: int,
        *,
        by_picture: bool = False,
        transform: Callable[[Batch, Draws], Batch] | None = None,
        device: str = "cpu",
    ) -> DataLoader:
        """Shuffled batches for a network on `device`.

        Like lengths come together, or the sentences of a picture.
        """
        return DataLoader(
            self,
            batch_size,
            shuffle=True,
            seed=seed,
            order=self.by_picture() if by_picture else self.by_length(batch_size),
            collate=self.collate,
            transform=transform,
            workers=workers_for(device),
        )


def padded(sentences: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Sentences as the rows of one array, filled up with PAD."""
    result = np.full((len(sentences), max(map(len, sentences))), PAD)
    for row, words in zip(result, sentences, strict=True):
        row[: len(words)] = words
    return result
