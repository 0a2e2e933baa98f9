"""How close made pictures are to real ones, in the features of a fixed classifier."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import core
from core import Tensor, models
from core.data.images import Picture, resize

Features = NDArray[np.float64]

_AT_ONCE = 200
# Layers that see the whole picture, before the classes: (network, layer).
GREY = ("digits", "classifier.1")
COLOUR = ("backbone", "features")


def feature_space(channels: int) -> str:
    """The name of the classifier that pictures of so many channels are compared in."""
    return (GREY if channels == 1 else COLOUR)[0]


def features(pictures: list[Picture] | NDArray[np.uint8]) -> Features:
    """Features (N, D) of uint8 pictures, (S, S) or (S, S, 3).

    Grey pictures: the last hidden layer of the digit network that ships with core (DeepConvNet on
    MNIST). Colour: the mean over the map of the backbone that ships with core. Both are
    fixed, so that distances can be compared with each other, and with nobody else's.
    """
    name, layer = GREY if pictures[0].ndim == 2 else COLOUR
    trained = models.pretrained(name)
    found = []
    with core.no_grad():
        seen = models.features(trained.model, [layer])
        for start in range(0, len(pictures), _AT_ONCE):
            x = _input(pictures[start : start + _AT_ONCE], trained)
            maps = seen(Tensor(x))[layer].numpy()
            found.append(maps.mean(axis=(2, 3)) if maps.ndim == 4 else maps)
    return np.concatenate(found).astype(np.float64)


def _input(pictures: list[Picture] | NDArray[np.uint8], trained: models.Pretrained) -> np.ndarray:
    """Pictures as the network takes them; digits are not searched for, but scaled as they are."""
    size = trained.transform.size
    squares = []
    for picture in pictures:
        if picture.ndim == 2:
            squares.append(_unframed(picture, size)[None])
        else:
            squares.append(resize(picture, (size, size)).transpose(2, 0, 1))
    return trained.transform.normalise(np.stack(squares))


def _unframed(picture: Picture, size: int) -> Picture:
    """A digit without the frame that it was given to fit a network; others are scaled."""
    margin = picture.shape[0] - size
    if 0 <= margin <= 4:
        start = margin // 2
        return picture[start : start + size, start : start + size]
    return resize(picture, (size, size))


def frechet_distance(a: Features, b: Features) -> float:
    """|mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)) of features (N, D), (M, D).

    The distance between the normal distributions with these means and covariances A, B (Heusel et
    al. 2017, equation 6). It shrinks with more samples: compare equal numbers only. Raises
    ValueError for fewer than two samples.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"frechet_distance: {len(a)} and {len(b)} samples, expected 2 or more")
    first, second = (np.cov(x, rowvar=False).reshape(x.shape[1], -1) for x in (a, b))
    root = _root(first)
    # The eigenvalues of A B are those of the symmetric A^(1/2) B A^(1/2).
    values = np.linalg.eigvalsh(root @ second @ root).clip(0)
    gap = a.mean(axis=0) - b.mean(axis=0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.sqrt(values).sum())


def _root(matrix: Features) -> Features:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def precision_recall(real: Features, made: Features, k: int = 3) -> tuple[float, float]:
    """Share of made samples within the real ones' manifold, and of real ones within the made one's.

    A manifold is the balls around its samples up to their k-th nearest neighbour (Kynkäänniemi
    et al. 2019). Raises ValueError for k samples or fewer.
    """
    if min(len(real), len(made)) <= k:
        raise ValueError(f"precision_recall: {len(real)} and {len(made)} samples, more than {k}")
    return _covered(real, made, k), _covered(made, real, k)


def _covered(around: Features, points: Features, k: int) -> float:
    radii = np.sort(_squared_distances(around, around), axis=1)[:, k]
    return float((_squared_distances(points, around) <= radii).any(axis=1).mean())


def _squared_distances(a: Features, b: Features) -> Features:
    lengths = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    return (lengths - 2 * a @ b.T).clip(0)


def diversity(pictures: NDArray[np.floating] | NDArray[np.uint8]) -> float:
    """The mean distance between two of the pictures (N, ...), per value.

    A generator that has collapsed draws the same for every point: near 0. Raises ValueError for a
    single picture.
    """
    count = len(pictures)
    if count < 2:
        raise ValueError("diversity: one picture, expected two or more")
    rows = np.asarray(pictures, np.float64).reshape(count, -1)
    distances = np.sqrt(_squared_distances(rows, rows) / rows.shape[1])
    return float(distances.sum() / (count * (count - 1)))
