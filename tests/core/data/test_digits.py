"""The embedded digits and their fixed split."""

import hashlib

import numpy as np
import pytest

from core.data.digits import embedded_digits

TEST_LABELS = [0, 2, 4, 7, 1, 6, 8, 9, 5, 3, 0, 2]
TEST_DIGEST = "83c99461e31a25765a26614f1c1bc7016c08dfc462b1b66cee9e5f3c29308a0a"


def test_shapes_values_and_classes() -> None:
    train, test = embedded_digits("train"), embedded_digits("test")
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == np.uint8 and train.labels.dtype == np.int64
    levels = np.rint(np.arange(17) * 255 / 16)
    np.testing.assert_array_equal(np.unique(train.images), levels)
    assert train.classes == tuple("0123456789")


def test_split_is_stratified_and_complete() -> None:
    train, test = embedded_digits("train"), embedded_digits("test")
    counts = np.bincount(test.labels)
    assert np.abs(counts / (counts + np.bincount(train.labels)) - 0.2).max() < 0.01
    from sklearn.datasets import load_digits

    everything = sorted(image.tobytes() for image in load_digits().images.astype(np.uint8))
    both = np.concatenate([train.images, test.images])[:, 0]
    original = np.rint(both / (255 / 16)).astype(np.uint8)
    assert sorted(image.tobytes() for image in original) == everything


def test_split_never_changes() -> None:
    test = embedded_digits("test")
    assert test.labels[:12].tolist() == TEST_LABELS
    digest = hashlib.sha256(test.images.tobytes() + test.labels.astype("<i8").tobytes())
    assert digest.hexdigest() == TEST_DIGEST


def test_unknown_split() -> None:
    with pytest.raises(ValueError, match="split is 'valid'"):
        embedded_digits("valid")  # type: ignore[arg-type]
