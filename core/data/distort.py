"""Augmentation that bends pictures or hides parts of them; otherwise as `core.data.augment`."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.data.augment import Batch
from core.data.resample import read_bilinear
from core.data.rng import Draws


class ElasticTransform:
    """Move every pixel by a smooth random field (Simard et al. 2003, section 2).

    The field is noise in -1..1 for each pixel, blurred with a Gaussian of `sigma` pixels and
    multiplied by `alpha` / 2, which makes `alpha` and `sigma` torchvision's. Pixels that come from
    outside hold `fill`. For pictures with class labels only: raises ValueError for a batch with
    masks or boxes, and for settings that are not positive.
    """

    def __init__(self, alpha: float = 50.0, sigma: float = 5.0, *, fill: float = 0) -> None:
        if not (alpha > 0 and sigma > 0):
            raise ValueError(
                f"ElasticTransform: alpha {alpha} and sigma {sigma}, expected more than 0"
            )
        self.alpha = alpha
        self.sigma = sigma
        self.fill = fill

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        _need_labels_only("ElasticTransform", batch)
        samples, _, height, width = batch.images.shape
        noise = 2 * draw(2 * height * width).astype(np.float32).reshape(-1, height, width) - 1
        field = _blur(height, self.sigma) @ noise @ _blur(width, self.sigma).T
        shift = field.reshape(samples, 2, height, width) * np.float32(self.alpha / 2)
        at = np.stack(np.meshgrid(np.arange(width), np.arange(height)))
        return replace(batch, images=read_bilinear(batch.images, at + shift, self.fill))


@cache
def _blur(size: int, sigma: float) -> NDArray[np.float32]:
    """The matrix (size, size) that blurs a row; at the border the picture is mirrored."""
    reach = math.ceil(4 * sigma)
    offsets = np.arange(-reach, reach + 1)
    taps = np.exp(-(offsets**2) / (2 * sigma**2))
    taps /= taps.sum()
    period = max(1, 2 * size - 2)
    place = np.abs(np.arange(size)[:, None] + offsets) % period
    place = np.minimum(place, period - place)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], place), taps)
    return matrix.astype(np.float32)


class RandomErasing:
    """Fill a random rectangle of each sample with `value`, with probability `p`.

    Zhong et al. 2020. The rectangle's share of the picture is drawn from `scale`, the logarithm of
    its height over its width from that of `ratio`, both evenly; a side that is longer than the
    picture's is cut to it. For pictures with class labels only: raises ValueError for a batch with
    masks or boxes, and for ranges out of order.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        *,
        value: float = 0,
    ) -> None:
        if not (0 <= p <= 1 and 0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            raise ValueError(
                f"RandomErasing: p {p}, scale {scale} and ratio {ratio}, expected a "
                "probability and ranges above 0"
            )
        self.p = p
        self.scale = scale
        self.ratio = ratio
        self.value = value

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        _need_labels_only("RandomErasing", batch)
        images = batch.images
        height, width = images.shape[2:]
        chance = draw(5)
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * chance[:, 1]) * height * width
        low, high = np.log(self.ratio)
        ratio = np.exp(low + (high - low) * chance[:, 2])
        hidden = _part(np.sqrt(area * ratio), height, chance[:, 3])[:, :, None]
        hidden = hidden & _part(np.sqrt(area / ratio), width, chance[:, 4])[:, None, :]
        hidden &= (chance[:, 0] < self.p)[:, None, None]
        value = np.asarray(self.value, images.dtype)
        return replace(batch, images=np.where(hidden[:, None], value, images))


def _part(length: NDArray[np.float64], size: int, chance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of `size` places are in a stretch of each `length`, put somewhere by `chance`."""
    whole = np.clip(np.rint(length), 1, size).astype(int)
    start = (chance * (size - whole + 1)).astype(int)
    places = np.arange(size)
    return (places >= start[:, None]) & (places < (start + whole)[:, None])


def _need_labels_only(name: str, batch: Batch) -> None:
    if batch.masks is not None or batch.boxes is not None:
        raise ValueError(f"{name}: changes pictures alone; the batch has masks or boxes")
