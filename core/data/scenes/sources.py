"""What scenes are made of: handwritten digits and photographs, split by name and index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Files inside the installed packages scikit-image (public domain or CC0) and scikit-learn
# (flower and china: CC BY 2.0, by the Flickr users vultilion and danielbuechele).
BACKGROUNDS: dict[Split, tuple[str, ...]] = {
    "train": (
        "brick.png",
        "camera.png",
        "coffee.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "val": ("coins.png", "flower.jpg", "moon.png"),
    "test": ("astronaut.png", "chelsea.png", "china.jpg", "grass.png"),
}
_FROM_SKLEARN = ("china.jpg", "flower.jpg")

# Whole ranges, so that the splits can be named and never change.
DIGITS: dict[Split, range] = {
    "train": range(0, 1257),
    "val": range(1257, 1437),
    "test": range(1437, 1797),
}
# Of MNIST's training file the last 10,000 validate; its test file is the test split.
MNIST_DIGITS: dict[Split, range] = {
    "train": range(0, 50000),
    "val": range(50000, 60000),
    "test": range(0, 10000),
}


class Digits(NamedTuple):
    """Handwritten digits: images uint8 (N, h, w) with ink 255, and labels int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load_digits(split: Split) -> Digits:
    """Return the 8x8 digits of a split, from scikit-learn's copy of the UCI collection.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998).
    """
    from sklearn.datasets import load_digits as load

    rows = DIGITS[split]
    found = load()
    ink = found.images[rows.start : rows.stop]
    images = np.minimum(ink.astype(np.int64) * 16, 255).astype(np.uint8)
    return Digits(images, found.target[rows.start : rows.stop].astype(np.int64))


def load_mnist_digits(split: Split, data_root: str | Path | None) -> Digits:
    """Return MNIST's 28x28 digits of a split; raises FileNotFoundError when they are absent."""
    from core.data.idx import mnist

    found = mnist("test" if split == "test" else "train", data_root)
    rows = MNIST_DIGITS[split]
    images = np.asarray(found.images)[rows.start : rows.stop, 0]
    return Digits(images, np.asarray(found.labels)[rows.start : rows.stop].astype(np.int64))


def load_backgrounds(split: Split) -> list[Image]:
    """Return the split's photographs in RGB; raises FileNotFoundError naming a missing one."""
    import skimage
    import sklearn.datasets
    from PIL import Image as pillow

    sklearn_folder = Path(sklearn.datasets.__file__).parent / "images"
    skimage_folder = Path(skimage.__file__).parent / "data"
    pictures = []
    for name in BACKGROUNDS[split]:
        path = (sklearn_folder if name in _FROM_SKLEARN else skimage_folder) / name
        if not path.is_file():
            raise FileNotFoundError(
                f"scenes: {path} is missing; reinstall scikit-image and scikit-learn"
            )
        with pillow.open(path) as file:
            pictures.append(file.convert("RGB"))
    return pictures
