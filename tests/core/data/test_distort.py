"""Bending and erasing: what they keep, how far they go, and each sample by itself."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.data.augment import Batch
from core.data.distort import ElasticTransform, RandomErasing, _blur
from core.data.rng import Draws


def draws(samples: int, first: int = 0) -> Draws:
    return Draws(0, 0, np.arange(first, first + samples))


def ramp(samples: int, size: int = 28) -> NDArray[np.float32]:
    """Pictures whose values are their own x (first channel) and y (second)."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    return np.tile(np.stack([x, y])[None] / size, (samples, 1, 1, 1)).astype(np.float32)


def test_elastic_shifts_are_smooth_and_as_large_as_announced() -> None:
    size, sigma, alpha = 64, 4.0, 40.0
    images = ramp(64, size)
    moved = ElasticTransform(alpha, sigma)(Batch(images), draws(64)).images
    # Away from the border, where the blur is mirrored and the fill comes in.
    shift = size * (moved - images)[:, :, 20:-20, 20:-20]
    # Noise of variance 1/3 under a Gaussian of sigma in two dimensions.
    expected = alpha / 2 * np.sqrt(1 / 3) / (2 * np.sqrt(np.pi) * sigma)
    assert shift.std() == pytest.approx(expected, rel=0.1)
    assert abs(shift.mean()) < 0.1
    assert np.abs(np.diff(shift, axis=3)).mean() < 0.3 * np.abs(shift).mean()


def test_a_blur_keeps_what_is_constant() -> None:
    for size, sigma in ((28, 4.0), (5, 4.0), (1, 2.0)):
        np.testing.assert_allclose(_blur(size, sigma).sum(axis=1), 1, rtol=1e-6)


def test_no_shift_changes_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 1, 9, 7)).astype(np.uint8)
    moved = ElasticTransform(1e-6, 2.0)(Batch(images), draws(3)).images
    np.testing.assert_array_equal(moved, images)


def test_erased_rectangles_have_the_announced_share_and_place() -> None:
    images = np.full((400, 2, 30, 40), 200, np.uint8)
    erased = RandomErasing(0.5, (0.1, 0.2), (0.5, 2), value=7)(Batch(images), draws(400)).images
    hidden = (erased == 7).all(axis=1)
    np.testing.assert_array_equal(hidden, (erased == 7).any(axis=1))
    chosen = hidden.any(axis=(1, 2))
    assert 160 < chosen.sum() < 240
    share = hidden[chosen].mean(axis=(1, 2))
    assert 0.09 < share.min() < 0.12
    assert 0.18 < share.max() < 0.22
    for one in hidden[chosen]:
        rows, columns = one.any(axis=1).sum(), one.any(axis=0).sum()
        assert one.sum() == rows * columns
        assert 0.45 < rows / columns < 2.2
    assert hidden[:, 0].any() and hidden[:, -1].any() and hidden[:, :, -1].any()


@pytest.mark.parametrize("transform", [ElasticTransform(30, 3), RandomErasing(0.5)])
def test_a_sample_does_not_depend_on_its_batch(
    transform: ElasticTransform | RandomErasing,
) -> None:
    images = np.random.default_rng(0).random((6, 1, 12, 12)).astype(np.float32)
    before = images.copy()
    whole = transform(Batch(images), draws(6)).images
    part = transform(Batch(images[4:]), draws(2, first=4)).images
    np.testing.assert_allclose(whole[4:], part, atol=1e-6)
    np.testing.assert_array_equal(images, before)
    assert whole.dtype == np.float32


@pytest.mark.parametrize("transform", [ElasticTransform(), RandomErasing()])
def test_masks_are_refused(transform: ElasticTransform | RandomErasing) -> None:
    batch = Batch(np.zeros((1, 1, 4, 4), np.uint8), masks=np.zeros((1, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="masks or boxes"):
        transform(batch, draws(1))


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="alpha 0"):
        ElasticTransform(0, 4)
    with pytest.raises(ValueError, match=r"p 1\.5"):
        RandomErasing(1.5)
    with pytest.raises(ValueError, match="ranges above 0"):
        RandomErasing(0.5, (0.3, 0.1))
