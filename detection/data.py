"""The data sets that a detector can be trained on, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.data.scenes import Scene, Scenes
from detection.metrics import GroundTruth
from detection.regions import Picture

DataName = Literal["scenes", "scenes-mnist", "bccd", "voc2007", "voc2012"]
SCENE_COUNTS = {"train": 1500, "val": 100, "test": 120}
DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class DetectionData:
    """The annotated pictures of one split; `problems` says in a line each what was skipped."""

    name: str
    split: str
    classes: tuple[str, ...]
    pictures: Sequence[Picture]
    problems: Sequence[str] = ()

    def truth(self) -> list[GroundTruth]:
        """The boxes and labels of every picture."""
        return [picture.truth() for picture in self.pictures]


@dataclass(frozen=True)
class ScenePicture:
    """One embedded scene as an annotated picture."""

    scene: Scene

    @property
    def id(self) -> str:
        return self.scene.id

    def read(self) -> NDArray[np.uint8]:
        return self.scene.picture

    def truth(self) -> GroundTruth:
        return GroundTruth(self.scene.boxes, self.scene.labels)


def load(
    name: str, split: str, *, count: int | None = None, data_root: Path | None = None, seed: int = 0
) -> DetectionData:
    """The pictures of a split of a data set; only the first `count` if given.

    Splits are "train", "val" and "test" ("trainval" where the set publishes it). `seed` chooses
    other scenes, for the sets made of scenes. Raises ValueError for an unknown name,
    FileNotFoundError in one line when files are missing.
    """
    if name in ("scenes", "scenes-mnist"):
        return _scenes(name, split, count, data_root, seed)
    if name not in get_args(DataName):
        raise ValueError(f"--data {name!r} is unknown; expected one of {get_args(DataName)}")
    return _voc(name, split, count, data_root)


def _scenes(
    name: str, split: str, count: int | None, data_root: Path | None, seed: int
) -> DetectionData:
    if split not in SCENE_COUNTS:
        raise ValueError(f"{name} has no split {split!r}; expected one of {tuple(SCENE_COUNTS)}")
    scenes = Scenes(
        split,  # type: ignore[arg-type]  # checked above
        count=SCENE_COUNTS[split] if count is None else count,
        digits="mnist" if name == "scenes-mnist" else "embedded",
        data_root=data_root,
        seed=seed,
    )
    return DetectionData(name, split, DIGIT_NAMES, [ScenePicture(scene) for scene in scenes])


def _voc(name: str, split: str, count: int | None, data_root: Path | None) -> DetectionData:
    from core.data.roots import find
    from detection.voc import BCCD_CLASSES, VOC_CLASSES, VOCDetection

    folder, classes, origin = {
        "bccd": ("bccd", BCCD_CLASSES, "github.com/Shenggan/BCCD_Dataset (its folder BCCD)"),
        "voc2007": ("VOCdevkit/VOC2007", VOC_CLASSES, "host.robots.ox.ac.uk/pascal/VOC/voc2007"),
        "voc2012": ("VOCdevkit/VOC2012", VOC_CLASSES, "host.robots.ox.ac.uk/pascal/VOC/voc2012"),
    }[name]
    root = find(folder, [f"ImageSets/Main/{split}.txt"], data_root, origin=origin)
    data = VOCDetection(root, split, classes)
    usable, unreadable = readable(data.items[:count])
    if not usable:
        raise ValueError(f"{root}: no readable picture in split {split!r}: {unreadable[0]}")
    return DetectionData(name, split, tuple(classes), usable, [*data.problems, *unreadable])


def readable(pictures: Sequence[Picture]) -> tuple[list[Picture], list[str]]:
    """The pictures that can be decoded, and a line for each of the others."""
    usable, problems = [], []
    for picture in pictures:
        try:
            picture.read()
        except (ValueError, OSError) as error:
            problems.append(str(error))
        else:
            usable.append(picture)
    return usable, problems
