"""A small detector and a small data folder, for the tests of what is built on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import core
from detection.data import DIGIT_NAMES
from detection.detector import Detector
from detection.network import RegionNet
from detection.proposals import SearchOptions
from detection.recipe import Recipe
from detection.regression import BoxRegressor
from detection.svm import SVM

SMALL = Recipe(crop=16, width=8, proposals=SearchOptions(max_proposals=40, longest_side=96))

MakeDetector = Callable[..., Detector]


@pytest.fixture
def make_detector() -> MakeDetector:
    """Makes detectors with a random network; `score` and `shift` are what every box gets.

    With `score` None the SVMs are random, otherwise the classes score `score` everywhere; `shift`
    is the regressors' output.
    """

    def make(
        classes: tuple[str, ...] = ("cat", "dog"),
        score: tuple[float, ...] | None = None,
        shift: tuple[float, ...] = (0, 0, 0, 0),
        recipe: Recipe = SMALL,
    ) -> Detector:
        core.seed(7)
        rng = np.random.default_rng(7)
        net = RegionNet(len(classes), recipe.crop, recipe.width)
        weight = rng.normal(size=(recipe.width, len(classes))).astype(np.float32)
        svm = SVM(weight, np.zeros(len(classes), np.float32))
        if score is not None:
            svm = SVM(weight * 0, np.array(score, np.float32))
        box = np.zeros((len(classes), net.pooled_size, 4), np.float32)
        bias = np.tile(np.array(shift, np.float32), (len(classes), 1))
        return Detector(classes, net, svm, BoxRegressor(box, bias), recipe, data="toys")

    return make


@pytest.fixture
def digit_weights(tmp_path: Path, make_detector: MakeDetector) -> Path:
    """The file of a detector that knows the digits, by name at least."""
    path = tmp_path / "digits.safetensors"
    make_detector(DIGIT_NAMES).save(path)
    return path


def _annotation(boxes: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in boxes
    )
    size = "<size><width>96</width><height>72</height></size>"
    return f"<annotation>{size}{objects}</annotation>"


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """A data root with BCCD's layout: four coloured pictures in train, two in val and in test."""
    from PIL import Image

    root = tmp_path / "data"
    folder = root / "bccd"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        ids = [f"{split}{i}" for i in range(count)]
        (folder / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(ids))
        for name in ids:
            picture = rng.integers(110, 140, (72, 96, 3)).astype(np.uint8)
            x, y = (int(v) for v in rng.integers(2, 20, 2))
            boxes = [("RBC", (x, y, x + 24, y + 24)), ("WBC", (x + 40, y + 10, x + 70, y + 44))]
            for (_, (x1, y1, x2, y2)), colour in zip(
                boxes, [(220, 40, 40), (50, 40, 200)], strict=True
            ):
                picture[y1:y2, x1:x2] = colour
            Image.fromarray(picture).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
            (folder / "Annotations" / f"{name}.xml").write_text(_annotation(boxes))
    return root
