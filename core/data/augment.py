"""Augmentation of whole batches: pictures with their masks and boxes, alike for all three.

A transform is called as `transform(batch, draw)`, where `draw` is a `core.data.rng.Draws`: what
happens to a sample depends on the seed, the epoch and the sample's number, not on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.data.resample import read_bilinear, read_nearest, windows
from core.data.rng import Draws

IGNORE = 255  # what masks hold where a transform uncovers pixels that nobody labelled
MIN_REMAINING = 0.25
Interpolation = Literal["nearest", "bilinear"]


@dataclass(frozen=True)
class Batch:
    """N samples: `images` (N, C, H, W), uint8 0 to 255 or float32 0 to 1.

    `masks` (N, H, W) are label maps; `boxes` one float32 (n, 4) per sample, x1, y1, x2, y2 in
    pixels; `labels` either one label per sample, an array (N,), or one array (n,) per sample,
    matching `boxes`. Transforms return new batches and leave their input alone. Raises ValueError
    when the parts do not fit together.
    """

    images: NDArray[Any]
    masks: NDArray[Any] | None = None
    boxes: Sequence[NDArray[np.float32]] | None = None
    labels: NDArray[np.int64] | Sequence[NDArray[np.int64]] | None = None

    def __post_init__(self) -> None:
        images = self.images
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
            raise ValueError(
                "Batch: images must be uint8 or float32 (N, C, H, W), "
                f"got {images.dtype} {images.shape}"
            )
        expected = (len(images), *images.shape[2:])
        if self.masks is not None and self.masks.shape != expected:
            raise ValueError(f"Batch: masks must be {expected}, got {self.masks.shape}")
        for name, part in (("boxes", self.boxes), ("labels", self.labels)):
            if part is not None and len(part) != len(images):
                raise ValueError(f"Batch: {len(images)} images but {name} for {len(part)}")
        if self.boxes is not None:
            for one in self.boxes:
                if one.ndim != 2 or one.shape[1] != 4:
                    raise ValueError(f"Batch: each sample's boxes must be (n, 4), got {one.shape}")
            if self.labels is not None and not isinstance(self.labels, np.ndarray):
                counts = [(len(b), len(n)) for b, n in zip(self.boxes, self.labels, strict=True)]
                if any(boxes != labels for boxes, labels in counts):
                    raise ValueError(f"Batch: boxes and labels per sample differ: {counts}")


Transform = Callable[[Batch, Draws], Batch]


class Compose:
    """Apply transforms one after the other."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        for transform in self.transforms:
            batch = transform(batch, draw)
        return batch


class RandomHorizontalFlip:
    """Mirror each sample left to right with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, got {p}")
        self.p = p

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        chosen = draw(1)[:, 0] < self.p
        width = batch.images.shape[3]
        images = np.where(chosen[:, None, None, None], batch.images[..., ::-1], batch.images)
        masks = boxes = None
        if batch.masks is not None:
            masks = np.where(chosen[:, None, None], batch.masks[..., ::-1], batch.masks)
        if batch.boxes is not None:
            every, sample = _join(batch.boxes)
            mirrored = every[:, [2, 1, 0, 3]]
            mirrored[:, [0, 2]] = width - mirrored[:, [0, 2]]
            boxes = _part(np.where(chosen[sample, None], mirrored, every), sample, len(images))
        return replace(batch, images=images, masks=masks, boxes=boxes)


class RandomCrop:
    """Cut a window of `size` (height, width), or a square, out of each sample, padded first.

    `padding` pixels on every side hold `fill` (in the images' own units), 255 in masks. Boxes are
    clipped to the window; one that keeps less than `min_remaining` of its area is dropped with its
    label. Raises ValueError when the padded picture is smaller than the window.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | None = None,
        *,
        fill: float = 0,
        min_remaining: float = MIN_REMAINING,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.padding = padding or 0
        self.fill = fill
        self.min_remaining = min_remaining
        if min(self.size) < 1 or self.padding < 0:
            raise ValueError(
                f"RandomCrop: size must be positive and padding not negative, got {size}, {padding}"
            )

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        pad, (height, width) = self.padding, self.size
        spare_rows = batch.images.shape[2] + 2 * pad - height
        spare_columns = batch.images.shape[3] + 2 * pad - width
        if spare_rows < 0 or spare_columns < 0:
            raise ValueError(
                f"RandomCrop: pictures of {batch.images.shape[2:]} with padding {pad} "
                f"are smaller than the crop {self.size}"
            )
        chance = draw(2)
        top = (chance[:, 0] * (spare_rows + 1)).astype(np.intp)
        left = (chance[:, 1] * (spare_columns + 1)).astype(np.intp)
        images = windows(batch.images, self.size, pad, self.fill, top, left)
        masks = None
        if batch.masks is not None:
            masks = windows(batch.masks[:, None], self.size, pad, IGNORE, top, left)[:, 0]
        moved_batch = replace(batch, images=images, masks=masks, boxes=None, labels=None)
        if batch.boxes is None:
            return replace(moved_batch, labels=batch.labels)
        every, sample = _join(batch.boxes)
        offset = np.stack([pad - left, pad - top], axis=1)[sample]
        moved = every + np.concatenate([offset, offset], axis=1).astype(np.float32)
        return _with_boxes(moved_batch, moved, sample, batch.labels, self.min_remaining)


class _RandomWarp:
    """What the affine transforms share: one resampling of pictures, masks and boxes."""

    def __init__(self, interpolation: Interpolation, fill: float, min_remaining: float) -> None:
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(
                f"interpolation must be 'nearest' or 'bilinear', got {interpolation!r}"
            )
        self.interpolation: Interpolation = interpolation
        self.fill = fill
        self.min_remaining = min_remaining

    def _warp(
        self,
        batch: Batch,
        clockwise: NDArray[np.float64],
        shift: NDArray[np.float64],
        zoom: NDArray[np.float64],
    ) -> Batch:
        """Turn by degrees (N,) about the centre, zoom (N,), then shift (N, 2) by x, y pixels."""
        height, width = batch.images.shape[2:]
        centre = np.array([width / 2, height / 2])
        turn = np.radians(clockwise)
        cos, sin = np.cos(turn), np.sin(turn)
        # y points down, so this matrix turns clockwise for a viewer.
        rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
        inverse = rotation.transpose(0, 2, 1) / zoom[:, None, None]
        x = np.arange(width) + 0.5 - centre[0] - shift[:, :1]
        y = np.arange(height) + 0.5 - centre[1] - shift[:, 1:]
        source = (
            inverse[:, :, :1, None] * x[:, None, None, :]
            + inverse[:, :, 1:, None] * y[:, None, :, None]
            + (centre - 0.5)[None, :, None, None]
        )
        read = read_bilinear if self.interpolation == "bilinear" else read_nearest
        images = read(batch.images, source, self.fill)
        masks = None
        if batch.masks is not None:
            masks = read_nearest(batch.masks[:, None], source, IGNORE)[:, 0]
        moved_batch = replace(batch, images=images, masks=masks, boxes=None, labels=None)
        if batch.boxes is None:
            return replace(moved_batch, labels=batch.labels)
        every, sample = _join(batch.boxes)
        corners = every[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] - centre
        forward = (rotation * zoom[:, None, None])[sample]
        placed = (forward[:, None] * corners[:, :, None, :]).sum(3) + centre
        placed += shift[sample, None, :]
        moved = np.concatenate([placed.min(1), placed.max(1)], axis=1).astype(np.float32)
        return _with_boxes(moved_batch, moved, sample, batch.labels, self.min_remaining)


class RandomAffine(_RandomWarp):
    """Turn, shift and scale each sample about its centre, in one resampling.

    `degrees` is a range of clockwise angles, or d for (-d, d); `translate` the largest shift as
    fractions of width and height (one number for both); `scale` a range of factors. Pixels that
    come from outside hold `fill` (in the images' own units), 255 in masks; masks are always read
    from the nearest pixel, images by `interpolation`, "nearest" or "bilinear". A box becomes the
    upright box around its four corners, clipped; one that keeps less than `min_remaining` of its
    area is dropped with its label. Raises ValueError for a range out of order.
    """

    def __init__(
        self,
        degrees: float | tuple[float, float],
        translate: float | tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        *,
        interpolation: Interpolation = "nearest",
        fill: float = 0,
        min_remaining: float = MIN_REMAINING,
    ) -> None:
        super().__init__(interpolation, fill, min_remaining)
        self.degrees = _angles("RandomAffine", degrees)
        if translate is None or isinstance(translate, int | float):
            translate = (translate or 0.0, translate or 0.0)
        if not all(0 <= fraction <= 1 for fraction in translate):
            raise ValueError(
                f"RandomAffine: translate must be fractions from 0 to 1, got {translate}"
            )
        self.translate = translate
        self.scale = scale or (1.0, 1.0)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"RandomAffine: scale must be a range above 0, got {scale}")

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        chance = draw(4)
        height, width = batch.images.shape[2:]
        most = np.array(self.translate) * np.array([width, height])
        shift = np.rint((2 * chance[:, 1:3] - 1) * most)
        angles = _between(self.degrees, chance[:, 0])
        return self._warp(batch, angles, shift, _between(self.scale, chance[:, 3]))


class RandomRotation(_RandomWarp):
    """Turn each sample about its centre, counter-clockwise by an angle in the range `degrees`.

    As `RandomAffine`, except for the direction.
    """

    def __init__(
        self,
        degrees: float | tuple[float, float],
        interpolation: Interpolation = "nearest",
        *,
        fill: float = 0,
        min_remaining: float = MIN_REMAINING,
    ) -> None:
        super().__init__(interpolation, fill, min_remaining)
        self.degrees = _angles("RandomRotation", degrees)

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        angles = -_between(self.degrees, draw(1)[:, 0])
        return self._warp(batch, angles, np.zeros((len(angles), 2)), np.ones(len(angles)))


class ColorJitter:
    """Change brightness, contrast and saturation of each sample by random factors.

    Each is a range of factors, or a number v for (max(0, 1 - v), 1 + v). Brightness multiplies,
    contrast moves away from the picture's mean grey, saturation away from each pixel's grey; the
    result is clipped to 0..255 (uint8) or 0..1 (float32). They come in this order: up to the
    clipping they commute. Grey pictures (C = 1) have no saturation to change. Raises ValueError
    for a range out of order, or unless C is 1 or 3.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0,
        contrast: float | tuple[float, float] = 0,
        saturation: float | tuple[float, float] = 0,
    ) -> None:
        self.brightness = _factors("brightness", brightness)
        self.contrast = _factors("contrast", contrast)
        self.saturation = _factors("saturation", saturation)

    def __call__(self, batch: Batch, draw: Draws) -> Batch:
        images = batch.images
        if images.shape[1] not in (1, 3):
            raise ValueError(f"ColorJitter: images must have 1 or 3 channels, got {images.shape}")
        chance = draw(3).astype(np.float32)[:, :, None, None, None]
        top = np.float32(255 if images.dtype == np.uint8 else 1)
        x = images.astype(np.float32)
        x = np.clip(x * _between(self.brightness, chance[:, 0]), 0, top)
        if self.contrast != (1.0, 1.0):
            mean = _grey(x).mean(axis=(2, 3), keepdims=True)
            x = np.clip(mean + (x - mean) * _between(self.contrast, chance[:, 1]), 0, top)
        if self.saturation != (1.0, 1.0) and x.shape[1] == 3:
            grey = _grey(x)
            x = np.clip(grey + (x - grey) * _between(self.saturation, chance[:, 2]), 0, top)
        if images.dtype == np.uint8:
            x = np.rint(x)
        return replace(batch, images=x.astype(images.dtype))


def _grey(images: NDArray[np.float32]) -> NDArray[np.float32]:
    if images.shape[1] == 1:
        return images
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
    return (images * weights[:, None, None]).sum(1, keepdims=True)


def _factors(name: str, value: float | tuple[float, float]) -> tuple[float, float]:
    low, high = value if isinstance(value, tuple) else (max(0.0, 1.0 - value), 1.0 + value)
    if not 0 <= low <= high or not math.isfinite(high):
        raise ValueError(
            f"ColorJitter: {name} must be a number or range from 0 upwards, got {value}"
        )
    return float(low), float(high)


def _angles(name: str, degrees: float | tuple[float, float]) -> tuple[float, float]:
    low, high = degrees if isinstance(degrees, tuple) else (-degrees, degrees)
    if not low <= high:
        raise ValueError(f"{name}: degrees must be a number from 0 or a range, got {degrees}")
    return float(low), float(high)


def _between(bounds: tuple[float, float], chance: NDArray[Any]) -> NDArray[Any]:
    return bounds[0] + (bounds[1] - bounds[0]) * chance


def _join(boxes: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return all samples' boxes (m, 4) as a new array, and each one's sample (m,)."""
    sample = np.repeat(np.arange(len(boxes)), [len(one) for one in boxes])
    every = np.concatenate([np.zeros((0, 4), np.float32), *boxes]).astype(np.float32)
    return every, sample


def _part(every: NDArray[Any], sample: NDArray[np.intp], samples: int) -> list[NDArray[Any]]:
    """Undo `_join`: return each sample's rows."""
    ends = np.searchsorted(sample, np.arange(1, samples))
    return np.split(every, ends) if samples else []


def _with_boxes(
    batch: Batch,
    moved: NDArray[np.float32],
    sample: NDArray[np.intp],
    labels: NDArray[np.int64] | Sequence[NDArray[np.int64]] | None,
    min_remaining: float,
) -> Batch:
    """Clip boxes to the batch's pictures and drop, with their labels, those with little left."""
    samples, _, height, width = batch.images.shape
    limit = np.array([width, height, width, height], np.float32)
    clipped = np.clip(moved, 0, limit)
    before = (moved[:, 2] - moved[:, 0]) * (moved[:, 3] - moved[:, 1])
    after = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
    kept = (after > 0) & (after >= min_remaining * before)
    if labels is not None and not isinstance(labels, np.ndarray):
        joined = np.concatenate([np.zeros(0, np.int64), *labels])
        labels = _part(joined[kept], sample[kept], samples)
    return replace(batch, boxes=_part(clipped[kept], sample[kept], samples), labels=labels)
