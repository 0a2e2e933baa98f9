"""Pictures sorted into one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from core.data.dataset import ArrayDataset, stratified
from core.data.images import Picture, read_image, resize

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif")


class ImageFolder:
    """The pictures below ``root/<class>/``, as torchvision's data set of this name finds them.

    Items are (picture, label): uint8 RGB (H, W, 3) and a class number. Classes are the folder
    names in sorted order, pictures are in the order of their paths. Names that begin with a dot
    and links to folders are passed over.

    Args:
        root: the folder that holds one folder per class.
        extensions: the suffixes of pictures, in lower case; other files are passed over.
        verify: decode every picture once, now; one that cannot be read is left out and its
            reason kept in ``problems``. Without it such a picture raises ValueError when asked for.

    Raises FileNotFoundError when ``root`` is missing, has no class folders, or a class has no
    pictures, and ValueError when not a single picture can be read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        extensions: Sequence[str] = EXTENSIONS,
        verify: bool = True,
    ) -> None:
        self.root = Path(root)
        self.classes = _class_names(self.root)
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}
        self.samples: list[tuple[Path, int]] = []
        self.problems: list[str] = []
        for name, label in self.class_to_idx.items():
            paths = list(pictures_below(self.root / name, extensions))
            if not paths:
                raise FileNotFoundError(
                    f"{self.root / name}: no pictures ({', '.join(extensions)}) in this class"
                )
            self.samples += [(path, label) for path in paths]
        if verify:
            self.samples = [sample for sample in self.samples if self._read(sample[0]) is not None]
            self._require_pictures(len(self.samples))

    @property
    def targets(self) -> list[int]:
        """The class number of every picture."""
        return [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> tuple[Picture, int]:
        path, label = self.samples[index]
        return read_image(path), label

    def subset(self, indices: Sequence[int] | np.ndarray) -> ImageFolder:
        """A folder data set of the pictures at ``indices``, in that order."""
        part = object.__new__(ImageFolder)
        part.root = self.root
        part.classes, part.class_to_idx = self.classes, self.class_to_idx
        part.samples = [self.samples[int(index)] for index in indices]
        part.problems = []
        return part

    def split(self, lengths: Sequence[int] | Sequence[float], seed: int = 0) -> list[ImageFolder]:
        """Disjoint random parts with the same mixture of classes, for instance (0.9, 0.1).

        ``lengths`` are counts or fractions; raises ValueError when they do not add up.
        """
        parts = stratified(np.array(self.targets, np.int64), lengths, seed)
        return [self.subset(part) for part in parts]

    def arrays(self, size: int | tuple[int, int]) -> ArrayDataset:
        """All pictures in memory, scaled to (height, width), as uint8 (N, 3, H, W).

        A single ``size`` means a square; proportions are not kept. Pictures that cannot be read
        are left out and added to ``problems``; ValueError when none is left.
        """
        shape = size if isinstance(size, tuple) else (size, size)
        images: list[Picture] = []
        labels: list[int] = []
        for path, label in self.samples:
            picture = self._read(path)
            if picture is not None:
                images.append(resize(picture, shape))
                labels.append(label)
        self._require_pictures(len(images))
        stacked = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
        return ArrayDataset(stacked, np.array(labels, np.int64), tuple(self.classes))

    def _read(self, path: Path) -> Picture | None:
        try:
            return read_image(path)
        except (ValueError, OSError) as error:
            self.problems.append(str(error))
            return None

    def _require_pictures(self, count: int) -> None:
        if count == 0:
            first = f", for instance {self.problems[0]}" if self.problems else ""
            raise ValueError(f"{self.root}: not a single readable picture{first}")


def _class_names(root: Path) -> list[str]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    names = [path.name for path in root.iterdir() if path.is_dir()]
    classes = sorted(name for name in names if not name.startswith("."))
    if not classes:
        raise FileNotFoundError(f"{root}: no class folders (expects {root}/<class>/<picture>)")
    return classes


def pictures_below(
    folder: str | os.PathLike[str], extensions: Sequence[str] = EXTENSIONS
) -> Iterator[Path]:
    """The pictures in a folder and its folders, in the order of their paths."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(tuple(extensions)):
                yield Path(where, name)


def named_pictures(given: Sequence[Path]) -> list[Path]:
    """The pictures that a command line names: files, and those in folders by their names.

    Raises ValueError when nothing is named, FileNotFoundError for a folder without a picture.
    """
    if not given:
        raise ValueError("predict: name at least one picture")
    paths: list[Path] = []
    for path in given:
        inside = list(pictures_below(path)) if path.is_dir() else [path]
        if not inside:
            raise FileNotFoundError(f"{path}: no pictures in this folder")
        paths += inside
    return paths


def distinct_stems(paths: Sequence[Path]) -> list[str]:
    """The names of files without their endings, made `distinct`."""
    return distinct([path.stem for path in paths])


def distinct(names: Sequence[str]) -> list[str]:
    """The names; all are numbered where two are the same."""
    if len(set(names)) == len(names):
        return list(names)
    return [f"{number}-{name}" for number, name in enumerate(names, start=1)]
