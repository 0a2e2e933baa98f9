"""From labelled pictures to batches of a network's input, pictures and label maps changed alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.data import augment
from core.data.augment import Batch
from core.data.images import Picture, resize
from core.data.loader import DataLoader, workers_for
from core.data.rng import Draws
from core.models.backbone import normalised
from segmentation.data import SegmentationData
from segmentation.labels import VOID, Labels
from segmentation.recipes import Recipe

Inputs = tuple[NDArray[np.float32], Labels]


# Below, the deepest maps of the networks would be empty.
LEAST_SIDE = 32


class Samples:
    """The pictures of a data set and their labels, scaled: (H, W, 3) and (H, W)."""

    def __init__(self, data: SegmentationData, scale: float = 1.0) -> None:
        self._data = data
        self._scale = scale

    def __len__(self) -> int:
        return len(self._data.pictures)

    def __getitem__(self, index: int, /) -> tuple[Picture, Labels]:
        picture, labels = self._data.pictures[index].read()
        size = scaled_size(picture, self._scale)
        if size == labels.shape:
            return picture, labels
        return resize(picture, size), resize(labels, size, "nearest")


def scaled_size(picture: Picture, scale: float) -> tuple[int, int]:
    """Height and width of a picture `scale` times as large."""
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    return height, width


class Collate:
    """One batch of pictures of any size: each is filled up, with void, to the largest of them.

    None is smaller than `least` (height, width) then, nor than the networks need.
    """

    def __init__(self, least: tuple[int, int] = (LEAST_SIDE, LEAST_SIDE)) -> None:
        self._least = max(least[0], LEAST_SIDE), max(least[1], LEAST_SIDE)

    def __call__(self, items: Sequence[tuple[Picture, Labels]]) -> Batch:
        height, width = np.max([self._least, *(labels.shape for _, labels in items)], axis=0)
        images = np.zeros((len(items), 3, height, width), np.uint8)
        masks = np.full((len(items), height, width), VOID, np.uint8)
        for image, mask, (picture, labels) in zip(images, masks, items, strict=True):
            rows, columns = labels.shape
            image[:, :rows, :columns] = picture.transpose(2, 0, 1)
            mask[:rows, :columns] = labels
        return Batch(images, masks)


class Changed:
    """The loader's transform: augmentation, then a network's input."""

    def __init__(self, transforms: Sequence[augment.Transform] = ()) -> None:
        self._change = augment.Compose(transforms)

    def __call__(self, batch: Batch, draws: Draws) -> Inputs:
        changed = self._change(batch, draws)
        assert changed.masks is not None
        return to_network(changed.images), changed.masks


def to_network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (N, 3, H, W) as the networks take them: normalised as for ImageNet's."""
    return normalised(images.astype(np.float32) / np.float32(255))


def augmentation(recipe: Recipe) -> list[augment.Transform]:
    """What a recipe does to training pictures and their label maps."""
    changes: list[augment.Transform] = []
    if recipe.turn or recipe.zoom is not None:
        changes.append(
            augment.RandomAffine(recipe.turn, scale=recipe.zoom, interpolation="bilinear")
        )
    if recipe.crop is not None:
        changes.append(augment.RandomCrop(recipe.crop))
    if recipe.flip:
        changes.append(augment.RandomHorizontalFlip())
    if recipe.jitter:
        changes.append(augment.ColorJitter(recipe.jitter, recipe.jitter, recipe.jitter))
    return changes


def training_batches(
    data: SegmentationData, recipe: Recipe, seed: int, device: str = "cpu"
) -> DataLoader:
    """Shuffled batches of changed pictures for a network on `device`."""
    return _loader(data, recipe, augmentation(recipe), seed, shuffle=True, device=device)


def statistics_batches(data: SegmentationData, recipe: Recipe) -> DataLoader:
    """Batches of the pictures as they are, for the statistics of batch normalisation."""
    crop = [] if recipe.crop is None else [augment.RandomCrop(recipe.crop)]
    return _loader(data, recipe, crop, seed=0, shuffle=False)


def _loader(
    data: SegmentationData,
    recipe: Recipe,
    changes: Sequence[augment.Transform],
    seed: int,
    shuffle: bool,
    device: str = "cpu",
) -> DataLoader:
    return DataLoader(
        Samples(data, recipe.scale),
        recipe.batch_size,
        shuffle=shuffle,
        seed=seed,
        collate=Collate(recipe.crop or (LEAST_SIDE, LEAST_SIDE)),
        transform=Changed(changes),
        workers=workers_for(device),
    )
