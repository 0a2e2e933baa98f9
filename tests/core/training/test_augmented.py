"""The loader's transform that changes training pictures."""

from __future__ import annotations

import numpy as np
import pytest

from core.data import augment
from core.data.rng import Draws
from core.training.classifier import Augmented, to_network


@pytest.mark.parametrize(("p", "least", "most"), [(0.0, 0, 0), (0.7, 60, 80), (1.0, 100, 100)])
def test_a_part_of_the_pictures_is_changed(p: float, least: int, most: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (100, 1, 8, 8), np.uint8)
    labels = np.arange(100)

    def negative(batch: augment.Batch, draws: Draws) -> augment.Batch:
        return augment.Batch(255 - batch.images)

    got, same = Augmented([negative], p)((pictures, labels), Draws(0, 0, np.arange(100)))
    before, after = to_network(pictures), to_network(255 - pictures)
    changed = (got == after).all((1, 2, 3))
    assert least <= changed.sum() <= most
    assert np.array_equal(got[~changed], before[~changed])
    assert got.dtype == np.float32
    assert np.array_equal(same, labels)
