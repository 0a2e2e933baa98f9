"""The discriminator as a feature extractor (Radford et al. 2016, section 5.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import functional as F
from core.data.dataset import ArrayDataset
from core.training.progress import track
from dcgan.artist import Artist

_AT_ONCE = 200
PENALTIES = (1e-4, 1e-3, 1e-2)
_FOLDS = 3
_SEARCHED = 10_000  # pictures that C is chosen on
_GRID = 4


def discriminator_features(artist: Artist, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """All layers' maps of pictures (N, C, S, S), max-pooled to 4x4 each and side by side.

    Raises ValueError for an artist without a discriminator, or with a class-conditional one.
    """
    if artist.discriminator is None or artist.generator.classes:
        raise ValueError("features need a discriminator that is not told the class")
    found = []
    for start in track(range(0, len(images), _AT_ONCE), "features"):
        maps = artist.maps(images[start : start + _AT_ONCE])
        pooled = [F.max_pool2d(one, one.shape[2] // _GRID).numpy() for one in maps]
        found.append(np.concatenate([one.reshape(len(one), -1) for one in pooled], axis=1))
    return np.concatenate(found)


def classify(artist: Artist, train: ArrayDataset, test: ArrayDataset) -> dict[str, Any]:
    """Accuracy of a linear L2-SVM on the features, and on the pixels as they are."""
    known, new = (discriminator_features(artist, data.images) for data in (train, test))
    figures = {"images": len(train), **_accuracy(known, train.labels, new, test.labels)}
    known, new = (data.images.reshape(len(data), -1).astype(np.float32) for data in (train, test))
    pixels = _accuracy(known, train.labels, new, test.labels)
    return figures | {f"pixels_{name}": value for name, value in pixels.items()}


def _accuracy(
    known: NDArray[np.float32], labels: NDArray[Any], new: NDArray[np.float32], truth: NDArray[Any]
) -> dict[str, Any]:
    """Of an SVM whose C is the best of three on folds of a sample of the known ones."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    model = make_pipeline(StandardScaler(), LinearSVC(dual=False))
    search = GridSearchCV(model, {"linearsvc__C": list(PENALTIES)}, cv=_FOLDS, refit=False)
    some = np.random.default_rng(0).permutation(len(known))[:_SEARCHED]
    search.fit(known[some], labels[some])
    model.set_params(**search.best_params_).fit(known, labels)
    return {
        "accuracy": float(model.score(new, truth)),
        "C": float(search.best_params_["linearsvc__C"]),
        "fold_accuracy": float(search.best_score_),
        "features": known.shape[1],
    }
