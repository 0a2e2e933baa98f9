"""One linear SVM for each class, trained with hard negatives (Girshick et al. 2014, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# The published settings: features scaled to a mean norm of 20, C = 0.001, positives count twice,
# the bias learned as the weight of a constant feature 10.
NORM, C, POSITIVE_WEIGHT, BIAS_SCALE = 20.0, 1e-3, 2.0, 10.0
# A negative inside the margin is hard; one well outside it may be forgotten again.
HARD, EASY = -1.0, -1.2
FIRST, ROUNDS = 2000, 6


@dataclass(frozen=True)
class SVM:
    """Scores features (n, D) for each class: features @ weight + bias, (n, classes)."""

    weight: Floats
    bias: Floats

    def scores(self, features: Floats) -> Floats:
        """The signed distances (n, classes); above 0 means "this class"."""
        return features @ self.weight + self.bias


def fit_svms(
    features: Floats, positives: Sequence[Rows], negatives: Sequence[Rows], *, seed: int = 0
) -> SVM:
    """Train one SVM for each class on rows of the features (n, D).

    `positives` and `negatives` are the row numbers of each class. A class without positives
    scores -1 everywhere. The result takes unscaled features.
    """
    scale = NORM / max(float(np.linalg.norm(features, axis=1).mean()), 1e-12)
    pairs = [
        _fit_one(features, p, n, scale, np.random.default_rng((seed, label)))
        for label, (p, n) in enumerate(zip(positives, negatives, strict=True))
    ]
    weight = np.stack([w * scale for w, _ in pairs], axis=1).astype(np.float32)
    return SVM(weight, np.array([b for _, b in pairs], np.float32))


def _fit_one(
    features: Floats, positives: Rows, negatives: Rows, scale: float, rng: np.random.Generator
) -> tuple[Floats, float]:
    """Weight and bias of one class, for features times `scale`; only hard negatives are kept."""
    if not len(positives) or not len(negatives):
        return np.zeros(features.shape[1], np.float32), -1.0
    active = np.zeros(len(negatives), bool)
    active[rng.permutation(len(negatives))[:FIRST]] = True
    for _ in range(ROUNDS):
        chosen = negatives[active]
        weight, bias = _solve(features[positives] * scale, features[chosen] * scale)
        scores = (features @ (weight * scale))[negatives] + bias
        hard = (scores > HARD) & ~active
        if not hard.any():
            break
        active = (active & (scores > EASY)) | hard
    return weight, bias


def _solve(positives: Floats, negatives: Floats) -> tuple[Floats, float]:
    from sklearn.svm import LinearSVC

    x = np.concatenate([positives, negatives])
    y = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    svm = LinearSVC(
        C=C,
        loss="hinge",
        intercept_scaling=BIAS_SCALE,
        class_weight={1: POSITIVE_WEIGHT},
        max_iter=20_000,
        random_state=0,
    )
    svm.fit(x, y)
    return svm.coef_[0].astype(np.float32), float(svm.intercept_[0])
