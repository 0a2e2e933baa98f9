"""The pictures that a generator learns to imitate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core import data
from core.data.dataset import ArrayDataset, Split
from core.data.folder import ImageFolder, named_pictures
from core.data.images import read_image, resize

NAMES = ("digits", "mnist", "fashion-mnist", "cifar-10", "flowers")
_PADDED = 4  # a difference in size that a frame makes up for, sharper than scaling


def load(name: str, split: Split, size: int, *, data_root: Path | None = None) -> ArrayDataset:
    """Pictures uint8 (N, C, size, size), labels and classes of a data set.

    `name` is one of NAMES ("digits" are embedded), or a folder: of class folders, or of pictures,
    which are then one class; every tenth picture of a folder is test. Pictures up to four pixels
    smaller than `size` get an even frame of black, others are scaled; a folder's are squeezed to
    squares, and of class folders what cannot be read is named and left out. Raises ValueError for
    another name or an empty folder, FileNotFoundError in one line when files are missing.
    """
    if name == "digits":
        found = data.embedded_digits(split)
    elif name == "mnist":
        found = data.mnist(split, data_root)
    elif name == "fashion-mnist":
        found = data.fashion_mnist(split, data_root)
    elif name == "cifar-10":
        found = data.cifar10(split, data_root)
    elif name == "flowers":
        return data.flowers(split, data_root, size=size)
    elif Path(name).is_dir():
        return _folder(Path(name), split, size)
    else:
        raise ValueError(f"--data {name!r} is no folder, and none of {', '.join(NAMES)}")
    return ArrayDataset(fitted(found.images, size), found.labels, found.classes)


def _folder(path: Path, split: Split, size: int) -> ArrayDataset:
    if any(one.is_dir() and not one.name.startswith(".") for one in path.iterdir()):
        folder = ImageFolder(path, verify=False)
        whole = folder.arrays(size)
        for problem in folder.problems:
            print(f"skipped: {problem}", flush=True)
    else:
        images = [resize(read_image(one), (size, size)) for one in named_pictures([path])]
        stacked = np.stack(images).transpose(0, 3, 1, 2)
        whole = ArrayDataset(stacked, np.zeros(len(images), np.int64), (path.resolve().name,))
    place = np.arange(len(whole))
    chosen = place[(place % 10 == 9) == (split == "test")]
    if not len(chosen):
        raise ValueError(f"{path}: {len(whole)} pictures, too few for split {split!r}")
    return whole.subset(chosen)


def fitted(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square pictures (N, C, S, S) with another side: framed when a little smaller, else scaled."""
    side = images.shape[2]
    if side == size:
        return images
    if 0 < size - side <= _PADDED:
        before = (size - side) // 2
        after = size - side - before
        return np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)))
    scaled = [resize(one.transpose(1, 2, 0).squeeze(), (size, size)) for one in images]
    return np.stack([one[None] if one.ndim == 2 else one.transpose(2, 0, 1) for one in scaled])


def to_network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 as the networks take them: -1 to 1, the range of tanh."""
    return images.astype(np.float32) * np.float32(2 / 255) - np.float32(1)


def to_pictures(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What a generator gives, (N, C, S, S) of -1 to 1, as uint8 (N, S, S) or (N, S, S, 3)."""
    levels = np.rint((images + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return levels[:, 0] if levels.shape[1] == 1 else levels.transpose(0, 2, 3, 1)
