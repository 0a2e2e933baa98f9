"""What the fast form is trained on: random squares cut out of any photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.data.flowers import flowers
from core.data.folder import pictures_below
from core.data.images import Picture, read_image, resize
from core.data.rng import Draws
from core.data.scenes.sources import Split, load_backgrounds

Batch = tuple[NDArray[np.float32]]
"""Pictures (N, 3, size, size) in 0..1, alone in a tuple."""


class Pictures(Protocol):
    """Pictures by number, uint8 (H, W, 3), of any sizes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Picture: ...


class Folder:
    """The pictures below a folder, read when they are asked for.

    Raises FileNotFoundError when there is no such folder or not one picture in it.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f"--data {root}: no such folder")
        self.paths = list(pictures_below(root))
        if not self.paths:
            raise FileNotFoundError(f"--data {root}: no pictures in this folder")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> Picture:
        return read_image(self.paths[index])


def photographs(*splits: Split) -> list[Picture]:
    """The photographs of scikit-image and scikit-learn, split as for the embedded scenes."""
    return [np.array(image) for split in splits for image in load_backgrounds(split)]


def source(name: str, data_root: Path | None = None) -> Pictures:
    """Training pictures by name: "photographs", "flowers", or a folder of pictures."""
    if name == "photographs":
        return photographs("train", "val")
    if name == "flowers":
        return [image.transpose(1, 2, 0) for image in flowers("train", data_root).images]
    return Folder(Path(name))


class Crops:
    """A data set of so many samples, each a random square of a random picture.

    Sample i comes from source i modulo their number, so that each source has the same share. A
    square is cut as large as the picture allows, or smaller down to `size` pixels, scaled to
    `size`, and mirrored half of the time. Files that cannot be read are passed over, and kept in
    `problems`.
    """

    def __init__(self, sources: Sequence[Pictures], size: int, samples: int) -> None:
        self.sources = sources
        self.size = size
        self.problems: list[str] = []
        self._samples = samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int, /) -> int:
        return index

    def make(self, indices: NDArray[np.int64], draws: Draws) -> Batch:
        """The batch of the samples with these numbers: a loader's transform."""
        squares = [
            square(self._picture(int(index), chance[0]), self.size, *chance[1:])
            for index, chance in zip(indices, draws(5), strict=True)
        ]
        return (batch_of(squares),)

    def _picture(self, index: int, chance: float) -> Picture:
        pictures = self.sources[index % len(self.sources)]
        first = int(chance * len(pictures))
        for number in range(len(pictures)):
            try:
                return pictures[(first + number) % len(pictures)]
            except (ValueError, OSError) as error:
                if str(error) not in self.problems:
                    self.problems.append(str(error))
        raise ValueError(f"not a single readable picture, for instance {self.problems[0]}")


def square(
    picture: Picture, size: int, scale: float, top: float, left: float, mirrored: float
) -> Picture:
    """A square of a picture, scaled to `size`; the four choices are numbers in 0..1.

    `scale` goes from the largest square (0) to one of `size` pixels (1).
    """
    height, width = picture.shape[:2]
    largest = min(height, width)
    side = round(largest * min(1.0, size / largest) ** scale)
    y, x = (int(chance * (n - side + 1)) for chance, n in ((top, height), (left, width)))
    cut = resize(picture[y : y + side, x : x + side], (size, size))
    return cut[:, ::-1] if mirrored < 0.5 else cut


def batch_of(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """Pictures of one size as a network takes them, (N, 3, H, W) in 0..1."""
    stacked = np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(stacked) / np.float32(255)
