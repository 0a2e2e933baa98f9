"""Several views of a picture, whose probabilities are averaged: test-time augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.changes import AFFINE
from captioning.decoders import Decoder, State
from core import Tensor
from core import functional as F
from core.data import augment
from core.data.rng import Draws

_CHANGE = augment.Compose([AFFINE, augment.ColorJitter(0.2, 0.2, 0.2)])


def views_of(pictures: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Each picture (N, 3, S, S) as it is, then turned, shifted, scaled and relit a little.

    The result is (N, count, 3, S, S). All pictures are changed alike, so that what is seen of one
    does not depend on which others there are.
    """
    same = np.zeros(len(pictures), np.int64)
    changed = [
        _CHANGE(augment.Batch(pictures), Draws(0, view, same)).images for view in range(1, count)
    ]
    return np.stack([pictures, *changed], axis=1)


class ManyViews:
    """A decoder that writes one sentence about V views of a picture.

    Features are (N, V, C, h, w), states and memories (N, V, ...). The probability of a word is the
    mean of those that the decoder gives it for each view (Krizhevsky et al. 2012, section 4.1, for
    classes and crops).
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def look(self, features: Tensor) -> State:
        return _split(self._decoder.look(features.flatten(0, 1)), len(features))

    def first(self, features: Tensor) -> State:
        return _split(self._decoder.first(features.flatten(0, 1)), len(features))

    def step(self, words: Any, state: State, memory: State) -> tuple[Tensor, State, Tensor | None]:
        count, views = state[0].shape[:2]
        logits, new, _ = self._decoder.step(np.repeat(words, views), _join(state), _join(memory))
        chances = F.mean(F.softmax(logits, 1).reshape(count, views, -1), 1)
        return F.log(chances), _split(new, count), None


def _split(parts: State, count: int) -> State:
    return tuple(part.reshape(count, -1, *part.shape[1:]) for part in parts)


def _join(parts: State) -> State:
    return tuple(part.flatten(0, 1) for part in parts)
