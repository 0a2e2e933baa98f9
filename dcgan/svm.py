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
PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
_FOLDS = 3
_SEARCHED = 10_000  # pictures that C is chosen on
_GRID = 4
_ITERATIONS = 300


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
    """Accuracy of a linear L2-SVM on the features, and on the pixels as they are.

    Raises ValueError for pictures of one class.
    """
    if len(set(train.labels)) < 2:
        raise ValueError(f"--svm needs two classes or more; there is only {train.classes[0]!r}")
    known, new = (discriminator_features(artist, data.images) for data in (train, test))
    figures = {"images": len(train), **_accuracy(known, train.labels, new, test.labels)}
    known, new = (data.images.reshape(len(data), -1).astype(np.float32) for data in (train, test))
    pixels = _accuracy(known, train.labels, new, test.labels)
    return figures | {f"pixels_{name}": value for name, value in pixels.items()}


def _accuracy(
    known: NDArray[np.float32], labels: NDArray[Any], new: NDArray[np.float32], truth: NDArray[Any]
) -> dict[str, Any]:
    """Of an SVM whose C is the best of five on folds of a sample of the known pictures.

    Features are standardised where they lie: those of CIFAR-10 take 1.4 GB.
    """
    mean, deviation = known.mean(axis=0), known.std(axis=0) + np.float32(1e-6)
    for features in (known, new):
        features -= mean
        features /= deviation
    some = np.random.default_rng(0).permutation(len(known))[:_SEARCHED]
    chances = {c: _across_folds(known[some], labels[some], c) for c in PENALTIES}
    best = max(PENALTIES, key=lambda c: chances[c])
    return {
        "accuracy": _right(_fitted(known, labels, best), new, truth),
        "C": best,
        "fold_accuracy": chances[best],
        "features": known.shape[1],
    }


def _across_folds(known: NDArray[np.float32], labels: NDArray[Any], c: float) -> float:
    """The mean accuracy on each fold of an SVM fitted to the others."""
    folds = np.arange(len(known)) % _FOLDS
    found = []
    for fold in range(_FOLDS):
        own, others = folds == fold, folds != fold
        found.append(_right(_fitted(known[others], labels[others], c), known[own], labels[own]))
    return float(np.mean(found))


def _right(weights: NDArray[np.float32], new: NDArray[np.float32], truth: NDArray[Any]) -> float:
    return float((_scores(weights, new).argmax(axis=1) == truth).mean())


def _scores(weights: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    return known @ weights[:, :-1].T + weights[:, -1]


def _fitted(known: NDArray[np.float32], labels: NDArray[Any], c: float) -> NDArray[np.float32]:
    """Weights and bias (classes, D + 1) of one class against the rest, each by the squared hinge:
    |w|^2 / 2 + c * the sum of max(0, 1 - y (w x + b))^2. All at once, for their products are one.
    """
    from scipy.optimize import minimize

    classes = int(labels.max()) + 1
    sides = np.where(labels[:, None] == np.arange(classes), 1, -1).astype(np.float32)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(classes, -1).astype(np.float32)
        slack = np.maximum(0, 1 - sides * _scores(weights, known))
        slope = -2 * c * sides * slack
        weights[:, -1] = 0  # the bias is free
        gradient = np.column_stack([slope.T @ known, slope.sum(axis=0)]) + weights
        value = 0.5 * (weights**2).sum(dtype=float) + c * (slack**2).sum(dtype=float)
        return float(value), gradient.astype(np.float64).ravel()

    start = np.zeros(classes * (known.shape[1] + 1))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS})
    return found.x.reshape(classes, -1).astype(np.float32)
