"""Regions of a data set: pictures, their proposals, and which truth each proposal belongs to."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.data.rng import Draws
from detection.boxes import box_iou
from detection.crops import Canvas
from detection.metrics import GroundTruth
from detection.network import to_input
from detection.recipe import Flips, Recipe

Floats = NDArray[np.float32]


class Picture(Protocol):
    """One annotated picture of a data set."""

    @property
    def id(self) -> str: ...

    def read(self) -> NDArray[np.uint8]: ...

    def truth(self) -> GroundTruth: ...


def content_key(picture: Picture) -> str:
    """The key under which something computed from a picture is cached: its id and its pixels."""
    return f"{picture.id}-{zlib.crc32(picture.read().tobytes()):08x}"


@dataclass(frozen=True)
class Regions:
    """All candidate boxes of one picture: the true boxes first, then the proposals.

    `boxes` (n, 4); `overlap` (n,) the IoU with the nearest true box, `nearest` (n,) its index
    (-1 without truth) and `labels` (n,) its class.
    """

    boxes: NDArray[np.float32]
    overlap: NDArray[np.float32]
    nearest: NDArray[np.int64]
    labels: NDArray[np.int64]
    truth: GroundTruth

    @property
    def true_boxes(self) -> int:
        """How many of the first boxes are the truth itself."""
        return len(self.truth.boxes)

    def overlap_with(self, label: int) -> NDArray[np.float32]:
        """IoU (n,) with the nearest true box of one class; 0 where there is none."""
        of_class = self.truth.boxes[self.truth.labels == label]
        if not len(of_class):
            return np.zeros(len(self.boxes), np.float32)
        return box_iou(self.boxes, of_class).max(axis=1)


def regions_of(truth: GroundTruth, proposals: NDArray[np.floating]) -> Regions:
    """Assign each proposal (n, 4), and each true box, to the truth it overlaps most."""
    boxes = np.concatenate([truth.boxes, proposals]).astype(np.float32)
    if not len(truth.boxes):
        nothing = np.full(len(boxes), -1, np.int64)
        return Regions(boxes, np.zeros(len(boxes), np.float32), nothing, nothing, truth)
    iou = box_iou(boxes, truth.boxes)
    nearest = iou.argmax(axis=1)
    overlap = iou[np.arange(len(boxes)), nearest].astype(np.float32)
    return Regions(boxes, overlap, nearest, truth.labels[nearest], truth)


class RegionBatches:
    """Batches of crops for fine-tuning: a quarter objects, the rest background (section 2.3).

    A region with IoU >= 0.5 is an object of its nearest truth's class, any other is background
    (label `background`). The classes take turns among the objects, for a rare one would hardly
    be seen otherwise. As a data set it holds `steps` batches, each only its number; `make`, the
    loader's transform, draws the regions and warps them, so that a batch depends on (seed,
    epoch, number) alone. `flips` names the mirror images that an object may show as well.
    """

    def __init__(
        self,
        pictures: Sequence[NDArray[np.uint8]],
        regions: Sequence[Regions],
        background: int,
        recipe: Recipe,
        *,
        steps: int,
        batch_size: int = 128,
    ) -> None:
        self.regions, self.recipe = regions, recipe
        self._canvases = [Canvas(picture, recipe.context) for picture in pictures]
        self.steps, self.batch_size = steps, batch_size
        labels = [np.where(r.overlap >= 0.5, r.labels, background) for r in regions]
        places = [np.arange(len(x)) for x in labels]
        owners = np.repeat(np.arange(len(labels)), [len(x) for x in labels])
        self._labels = np.concatenate(labels)
        self._where = np.stack([owners, np.concatenate(places)], axis=1)
        rows = [np.flatnonzero(self._labels == c) for c in range(background + 1)]
        self._background, self._objects = rows[-1], [r for r in rows[:-1] if len(r)]
        if not self._objects or not len(self._background):
            raise ValueError(
                f"fine-tuning: {sum(map(len, self._objects))} object regions and "
                f"{len(self._background)} background regions, expected some of both"
            )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int, /) -> int:
        return index

    def make(self, numbers: NDArray[np.int64], draws: Draws) -> tuple[Floats, NDArray[np.int64]]:
        """The batch of one number: input (batch_size, 3, size, size) and labels (batch_size,)."""
        chosen = self._choose(draws(2 * self.batch_size)[0].reshape(2, -1))
        chosen = chosen[np.argsort(self._where[chosen, 0], kind="stable")]
        crops = np.concatenate([self._crops(*part) for part in self._by_picture(chosen)])
        crops = mirror(crops, draws(3 * len(crops))[0].reshape(3, -1), self.recipe.flips)
        return to_input(crops).numpy(), self._labels[chosen]

    def _choose(self, u: NDArray[np.float64]) -> NDArray[np.int64]:
        """Row numbers of a batch, from uniform numbers (2, batch_size)."""
        objects = self.batch_size // 4
        classes = (u[0, :objects] * len(self._objects)).astype(int)
        of_class = [self._objects[c] for c in classes]
        rows = [r[int(v * len(r))] for r, v in zip(of_class, u[1, :objects], strict=True)]
        rest = self._background[(u[0, objects:] * len(self._background)).astype(int)]
        return np.concatenate([np.array(rows, np.int64), rest])

    def _by_picture(self, chosen: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        owner, place = self._where[chosen].T
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        parts = np.split(place, starts[1:])
        return list(zip(owner[starts].tolist(), parts, strict=True))

    def _crops(self, picture: int, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        boxes = self.regions[picture].boxes[places]
        return self._canvases[picture].warp(boxes, self.recipe.crop)


def mirror(crops: NDArray[np.uint8], u: NDArray[np.float64], flips: Flips) -> NDArray[np.uint8]:
    """Crops (n, size, size, 3), some mirrored by uniform numbers u (3, n).

    "none" leaves them; "horizontal" mirrors half of them left to right; "dihedral" gives each
    one of the eight symmetries of the square (for pictures without an up).
    """
    if flips == "none":
        return crops
    result = np.where((u[0] < 0.5)[:, None, None, None], crops, crops[:, :, ::-1])
    if flips == "dihedral":
        result = np.where((u[1] < 0.5)[:, None, None, None], result, result[:, ::-1])
        result = np.where((u[2] < 0.5)[:, None, None, None], result, result.swapaxes(1, 2))
    return result
