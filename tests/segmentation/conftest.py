"""Small networks and small folders, for the tests of what is built on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import core
from core.data.images import save_image, save_labels
from segmentation.labels import CAMVID, DIGITS, LabelSet
from segmentation.networks import build
from segmentation.segmenter import Segmenter

MakeSegmenter = Callable[..., Segmenter]
OPTIONS = {"width": 4}


@pytest.fixture
def make_segmenter() -> MakeSegmenter:
    """Makes networks with random weights; with `says` they give every pixel that label."""

    def make(labels: LabelSet = DIGITS, says: int | None = None, scale: float = 1.0) -> Segmenter:
        core.seed(3)
        net = build("unet", len(labels.classes), **OPTIONS)
        if says is not None:
            head = net.get_submodule("head")
            bias = np.zeros(len(labels.classes), np.float32)
            bias[says] = 50
            head.load_state_dict({"weight": 0 * head.state_dict()["weight"], "bias": bias})
        return Segmenter(net.eval(), labels, "unet", OPTIONS, scale, "toys")

    return make


@pytest.fixture
def weights_file(tmp_path: Path, make_segmenter: MakeSegmenter) -> Path:
    """The file of a network that knows the digits, by name at least."""
    path = tmp_path / "toys.safetensors"
    make_segmenter().save(path)
    return path


def road(number: int, height: int = 36, width: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """A picture of sky over road with a car on it, as CamVid labels it: void at the left edge."""
    rng = np.random.default_rng(number)
    labels = np.full((height, width), 3, np.uint8)
    labels[: height // 2] = 0
    left = int(rng.integers(6, width - 14))
    labels[height // 2 - 4 : height // 2 + 8, left : left + 12] = 8
    labels[:, :2] = 11
    colours = np.array([[150, 190, 240], *[[90, 90, 90]] * 7, [200, 40, 40], *[[0, 0, 0]] * 3])
    noise = rng.integers(-15, 15, (height, width, 3))
    return np.clip(colours[labels] + noise, 0, 255).astype(np.uint8), labels


@pytest.fixture
def camvid_root(tmp_path: Path) -> Path:
    """A data root with CamVid in SegNet's layout: six pictures to train on, two in val and test."""
    root = tmp_path / "data" / "camvid"
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        lines = []
        for number in range(count):
            picture, labels = road(number)
            save_image(root / split / f"{split}{number}.jpg", picture, quality=95)
            save_image(root / f"{split}annot" / f"{split}{number}.png", labels)
            # The published lists have absolute paths of the authors' machine.
            prefix = "/SegNet/CamVid/" if number == 0 else ""
            lines.append(
                f"{prefix}{split}/{split}{number}.jpg {prefix}{split}annot/{split}{number}.png"
            )
        (root / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root.parent


@pytest.fixture
def own_folder(tmp_path: Path) -> Path:
    """A folder with images/ beside masks/: ten pictures of different sizes, palettes of classes."""
    root = tmp_path / "mine"
    for number in range(10):
        picture, labels = road(number, 32 + 4 * (number % 3), 40 + 2 * (number % 4))
        plain = np.select([labels == 0, labels == 3, labels == 8], [0, 1, 2], 255)
        save_image(root / "images" / f"{number}.png", picture)
        save_labels(root / "masks" / f"{number}.png", plain.astype(np.uint8), CAMVID.palette)
    (root / "classes.txt").write_text("sky #8080ff\nroad\ncar #ff0000\n")
    return root
