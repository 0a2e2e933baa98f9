"""The handwritten digits that come with scikit-learn: a data set with no download."""

from __future__ import annotations

import numpy as np

from core.data.dataset import ArrayDataset, Split, check_split

DIGITS_CLASSES = tuple("0123456789")


def embedded_digits(split: Split = "train") -> ArrayDataset:
    """1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998): 1,437 train, 360 test.

    Images uint8 (N, 1, 8, 8), the 17 grey levels scaled to 0..255, ink bright; labels int64 (N,).
    The split is fixed and draws no random numbers: with the digits sorted by class, and within a
    class in scikit-learn's order, every fifth one, from the first, is a test digit. Both parts
    keep scikit-learn's order.
    """
    check_split(split)
    from sklearn.datasets import load_digits

    raw = load_digits()
    by_class = np.argsort(raw.target, kind="stable")
    in_test = np.zeros(len(by_class), bool)
    in_test[by_class[::5]] = True
    chosen = in_test if split == "test" else ~in_test
    images = np.rint(raw.images[chosen] * (255 / 16)).astype(np.uint8)
    return ArrayDataset(images[:, None], raw.target[chosen].astype(np.int64), DIGITS_CLASSES)
