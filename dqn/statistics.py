"""What a set of returns says: the interquartile mean, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of the middle half (n,): the lowest and highest quarters are left out.

    Agarwal et al. 2021, section 4.3. Raises ValueError for no values.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=None)
    if not ordered.size:
        raise ValueError("interquartile_mean: no values")
    cut = ordered.size // 4
    return float(ordered[cut : ordered.size - cut].mean())


def bootstrap_interval(
    runs: Sequence[ArrayLike], *, share: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The interval that holds `share` of the interquartile means of resampled returns.

    runs: the returns of each training's episodes. Trainings are drawn with repeats, then
    episodes within each, because the episodes of one training are alike (Agarwal et al. 2021,
    section 4.1, resample the trainings alone). Raises ValueError for no returns.
    """
    rng = np.random.default_rng(seed)
    returns: list[NDArray[np.float64]] = [np.asarray(run, np.float64) for run in runs]
    if not returns or not all(run.size for run in returns):
        raise ValueError("bootstrap_interval: no returns")
    means = [
        interquartile_mean(
            np.concatenate([rng.choice(returns[i], returns[i].size) for i in chosen])
        )
        for chosen in rng.integers(len(returns), size=(draws, len(returns)))
    ]
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
