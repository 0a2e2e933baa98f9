"""From labelled pictures to batches of a network's input, pictures and label maps changed alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from segmentation.networks import LEAST_SIDE, least_side
from segmentation.recipes import Recipe

Inputs = tuple[NDArray[np.float32], Labels]
Sample = tuple[Picture, Labels]


class Samples:
    """The pictures of a data set and their labels, scaled: (H, W, 3) and (H, W)."""

    def __init__(self, data: SegmentationData, scale: float = 1.0) -> None:
        self._data = data
        self._scale = scale

    def __len__(self) -> int:
        return len(self._data.pictures)

    def __getitem__(self, index: int, /) -> Sample:
        picture, labels = self._data.pictures[index].read()
        size = scaled_size(picture, self._scale)
        if size == labels.shape:
            return picture, labels
        return resize(picture, size), resize(labels, size, "nearest")


def scaled_size(picture: Picture, scale: float) -> tuple[int, int]:
    """Height and width of a picture `scale` times as large."""
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    return height, width


class Changed:
    """The loader's transform: pictures of any size, augmented, as a network's input.

    Each is filled up with void to `least` (height, width). Pictures of one size are changed
    together, and none with the margins that another one asks for: what happens to a picture does
    not depend on its batch. Only then is each filled up to the largest.
    """

    def __init__(
        self,
        transforms: Sequence[augment.Transform] = (),
        least: tuple[int, int] = (LEAST_SIDE, LEAST_SIDE),
    ) -> None:
        self._change = augment.Compose(transforms)
        self._least = least

    def __call__(self, items: Sequence[Sample], draws: Draws) -> Inputs:
        parts = self._by_size(items, draws)
        if len(parts) == 1:
            return _input(parts[0][1])
        changed: list[Sample] = [items[0]] * len(items)
        for rows, batch in parts:
            for row, image, mask in zip(rows, batch.images, _masks(batch), strict=True):
                changed[row] = image.transpose(1, 2, 0), mask
        return _input(_filled(changed, (1, 1)))

    def apart(self, items: Sequence[Sample], draws: Draws) -> list[Inputs]:
        """The same, but the pictures of each size by themselves: none has margins of others."""
        return [_input(batch) for _, batch in self._by_size(items, draws)]

    def _by_size(self, items: Sequence[Sample], draws: Draws) -> list[tuple[list[int], Batch]]:
        """The rows of each size of pictures, and these pictures, changed."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, (_, labels) in enumerate(items):
            rows.setdefault(labels.shape, []).append(row)
        return [
            (
                here,
                self._change(
                    _filled([items[r] for r in here], self._least), draws.rows(np.array(here))
                ),
            )
            for here in rows.values()
        ]


def _filled(items: Sequence[Sample], least: tuple[int, int]) -> Batch:
    """One batch of pictures, each filled up with void to the largest of them and to `least`."""
    height, width = np.max([least, *(labels.shape for _, labels in items)], axis=0)
    images = np.zeros((len(items), 3, height, width), np.uint8)
    masks = np.full((len(items), height, width), VOID, np.uint8)
    for image, mask, (picture, labels) in zip(images, masks, items, strict=True):
        rows, columns = labels.shape
        image[:, :rows, :columns] = picture.transpose(2, 0, 1)
        mask[:rows, :columns] = labels
    return Batch(images, masks)


def _masks(batch: Batch) -> Labels:
    assert batch.masks is not None
    return batch.masks


def _input(batch: Batch) -> Inputs:
    return to_network(batch.images), _masks(batch)


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
    change = Changed(augmentation(recipe), _least(recipe))
    return DataLoader(
        Samples(data, recipe.scale),
        recipe.batch_size,
        shuffle=True,
        seed=seed,
        collate=list,
        transform=change,
        workers=workers_for(device),
    )


def statistics_batches(data: SegmentationData, recipe: Recipe) -> Iterator[Inputs]:
    """Batches of the pictures as they are, for the statistics of batch normalisation.

    Pictures of different sizes come in batches of their own: margins are in no statistics.
    """
    crop = [] if recipe.crop is None else [augment.RandomCrop(recipe.crop)]
    change = Changed(crop, _least(recipe))
    loader = DataLoader(
        Samples(data, recipe.scale), recipe.batch_size, collate=list, transform=change.apart
    )
    for parts in loader:
        yield from parts


def held_out_batches(data: SegmentationData, recipe: Recipe) -> DataLoader:
    """The pictures as they are, one at a time: they may differ in size."""
    least = least_side(recipe.model, recipe.network_options())
    change = Changed(least=(least, least))
    return DataLoader(Samples(data, recipe.scale), collate=list, transform=change)


def _least(recipe: Recipe) -> tuple[int, int]:
    """Height and width that pictures are filled up to before they are changed.

    Raises ValueError for windows in which the network's deepest map would be empty.
    """
    least = least_side(recipe.model, recipe.network_options())
    if recipe.crop is None:
        return least, least
    if min(recipe.crop) < least:
        raise ValueError(f"--crop is {recipe.crop}; the network needs {least} pixels each way")
    return recipe.crop
