"""Class-wise ridge regression of the box (Girshick et al. 2014, appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# lambda of the paper's equation 5, and the least IoU of a proposal that may teach.
RIDGE, TEACHING_IOU = 1000.0, 0.6


@dataclass(frozen=True)
class BoxRegressor:
    """Moves boxes by pooled features: `weight` (classes, D, 4), `bias` (classes, 4)."""

    weight: Floats
    bias: Floats

    def deltas(self, pooled: Floats) -> Floats:
        """How an object of each class would move the boxes of features (n, D): (n, classes, 4).

        `detection.boxes.decode` moves a box by them.
        """
        return np.einsum("nd,cdt->nct", pooled, self.weight, optimize=True) + self.bias


def fit_regressor(
    pooled: Sequence[Floats], targets: Sequence[Floats], ridge: float = RIDGE
) -> BoxRegressor:
    """Fit one regressor for each class from features (n, D) and encoded targets (n, 4).

    A class with fewer than four examples moves nothing.
    """
    from sklearn.linear_model import Ridge

    weights, biases = [], []
    for x, t in zip(pooled, targets, strict=True):
        if len(x) < 4:
            weights.append(np.zeros((x.shape[1], 4)))
            biases.append(np.zeros(4))
            continue
        # The targets are made white first, as in the published code: each of the four weighs alike.
        mean = t.mean(axis=0)
        whiten, unwhiten = _whitening(t - mean)
        fit = Ridge(alpha=ridge, solver="cholesky").fit(x, (t - mean) @ whiten)
        weights.append(fit.coef_.T @ unwhiten)
        biases.append(fit.intercept_ @ unwhiten + mean)
    return BoxRegressor(np.stack(weights).astype(np.float32), np.stack(biases).astype(np.float32))


def _whitening(deviations: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(whiten, its inverse) of the covariance of deviations (n, 4)."""
    covariance = deviations.T.astype(np.float64) @ deviations / len(deviations)
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(values + 1e-3)
    return vectors / root @ vectors.T, vectors * root @ vectors.T
