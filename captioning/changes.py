"""What the loader changes in training batches: pictures, and the words that are read."""

from __future__ import annotations

import numpy as np

from captioning.batches import Batch
from captioning.recipes import Recipe
from captioning.words import BEGIN, END, PAD, UNKNOWN
from core.data import augment, distort
from core.data.rng import Draws

AFFINE = augment.RandomAffine(6, 0.06, (0.9, 1.1), interpolation="bilinear")


class Changed:
    """The loader's transform: pictures are turned, bent or relit, words hidden, as asked for."""

    def __init__(self, recipe: Recipe) -> None:
        changes: list[augment.Transform] = []
        if recipe.augment == "affine":
            changes.append(AFFINE)
        if recipe.augment == "elastic":
            changes.append(augment.RandomAffine(10, 0.06, (0.85, 1.15), interpolation="bilinear"))
            # Strokes of 40 pixels' height move by 1.6 pixels.
            changes.append(distort.ElasticTransform(alpha=140, sigma=7))
        if recipe.jitter:
            changes.append(augment.ColorJitter(*3 * [recipe.jitter]))
        self._change = augment.Compose(changes) if changes else None
        self._hidden = recipe.word_dropout

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        if self._hidden:
            # Before the pictures, whose numbers would otherwise hide the same words again.
            batch = with_words_dropped(batch, self._hidden, draws)
        if self._change is not None:
            # A picture takes the random numbers of its first sentence.
            _, first = np.unique(batch.owner, return_index=True)
            changed = self._change(augment.Batch(batch.inputs), draws.rows(first))
            batch = batch._replace(inputs=changed.images)
        return batch


def with_words_dropped(batch: Batch, share: float, draws: Draws) -> Batch:
    """The batch, of whose `read` each word after BEGIN is UNKNOWN with probability `share`.

    Word dropout (Bowman et al. 2016, section 3.1.2): the next word has to be found in the picture,
    for the words before it, which tell what is usual, may be missing.
    """
    chosen = draws(batch.read.shape[1]) < share
    dropped = chosen & ~np.isin(batch.read, (PAD, BEGIN, END))
    return batch._replace(read=np.where(dropped, UNKNOWN, batch.read))
