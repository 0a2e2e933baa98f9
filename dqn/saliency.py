"""What the network looks at: how much its choice changes when a part of the screen is blurred."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dqn.play import Values

_BATCH = 64


def saliency(
    values: Values, state: NDArray[np.uint8], *, stride: int = 4, spread: float = 4.0
) -> NDArray[np.float32]:
    """The importance (H, W) of each place of a state (stack, H, W).

    Half the squared change of the advantages, values less their mean, when the screens are blurred
    around the place, every `stride` pixels, with a soft edge of `spread` pixels (Greydanus et al.
    2018, equations 1 and 3, of a policy's logits; the mean itself says how the game stands).
    """
    from scipy.ndimage import gaussian_filter, zoom

    height, width = state.shape[1:]
    blurred = gaussian_filter(state.astype(np.float32), (0, 3, 3))
    rows, columns = (range(stride // 2, side, stride) for side in (height, width))
    places = [(row, column) for row in rows for column in columns]
    before = _advantages(values, state[None])
    scores = np.concatenate(
        [
            _changes(values, state, blurred, before, places[first:][:_BATCH], spread)
            for first in range(0, len(places), _BATCH)
        ]
    ).reshape(len(rows), len(columns))
    scale = (height / len(rows), width / len(columns))
    enlarged: NDArray[Any] = zoom(scores, scale, order=1, grid_mode=True, mode="nearest")
    return enlarged.astype(np.float32)


def _changes(
    values: Values,
    state: NDArray[np.uint8],
    blurred: NDArray[np.float32],
    before: NDArray[np.float32],
    places: list[tuple[int, int]],
    spread: float,
) -> NDArray[np.float32]:
    y, x = np.mgrid[: state.shape[1], : state.shape[2]]
    masks = np.stack([np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * spread**2)) for r, c in places])
    mixed = state * (1 - masks[:, None]) + blurred * masks[:, None]
    changed = _advantages(values, mixed.round().astype(np.uint8)) - before
    scores: NDArray[np.float32] = (changed**2).sum(1) / 2
    return scores


def _advantages(values: Values, states: NDArray[np.uint8]) -> NDArray[np.float32]:
    q = values(states)
    return q - q.mean(1, keepdims=True)


def telling_moments(values: NDArray[np.float32], count: int, apart: int = 15) -> list[int]:
    """The steps of an episode, in order, where the choice among actions matters the most.

    values: (T, A). No two are closer than `apart` steps, so there may be fewer than `count`.
    """
    gap = values.max(1) - values.min(1)
    chosen: list[int] = []
    for step in np.argsort(-gap, kind="stable"):
        if len(chosen) < count and all(abs(int(step) - other) >= apart for other in chosen):
            chosen.append(int(step))
    return sorted(chosen)
