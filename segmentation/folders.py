"""Pictures with label maps in folders: SegNet's lists, Pascal VOC, images/ beside masks/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.data.folder import distinct, pictures_below
from core.data.images import Picture, read_image, read_labels
from segmentation.labels import VOID, Labels, LabelSet, numbered, read_classes

SPLITS = ("train", "val", "test")
CLASSES = "classes.txt"
_MASKS = ("masks", "labels")
_MAX_LIST_BYTES = 50_000_000
# Shares of train, val and test where nobody says which picture is in which.
_SHARES = (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class LabelledFile:
    """A picture and its label map, each in a file."""

    id: str
    picture: Path
    mask: Path
    labels: LabelSet

    def read(self) -> tuple[Picture, Labels]:
        """The picture (H, W, 3) and its labels (H, W).

        Raises ValueError, naming the file, when one cannot be read, the two differ in size, or a
        label is unknown.
        """
        picture = read_image(self.picture)
        labels = self.labels.decode(read_labels(self.mask), str(self.mask))
        if labels.shape != picture.shape[:2]:
            (height, width), (rows, columns) = labels.shape, picture.shape[:2]
            raise ValueError(
                f"{self.mask}: the mask is {width}x{height}, its picture {columns}x{rows}"
            )
        return picture, labels


def segnet_pairs(root: Path, split: str, labels: LabelSet) -> list[LabelledFile]:
    """The pairs that `split`.txt lists, a picture and a label map in each line.

    Paths are below `root`; of the absolute ones in the published lists the last two parts count.
    Raises ValueError, naming the list, for a line of another form.
    """
    path = root / f"{split}.txt"
    files: list[tuple[Path, Path]] = []
    for number, line in enumerate(_lines(path), start=1):
        parts = line.split()
        if len(parts) != 2:
            raise ValueError(f"{path}, line {number}: {line[:80]!r}: expected a picture and a mask")
        picture, mask = (_below(root, part, f"{path}, line {number}") for part in parts)
        files.append((picture, mask))
    names = [picture.stem for picture, _ in files]
    if len(set(names)) < len(names):
        # Frames of several sequences are numbered alike; each has its prediction's file.
        names = distinct([p.relative_to(root).with_suffix("").as_posix() for p, _ in files])
    pairs = [LabelledFile(n, *both, labels) for n, both in zip(names, files, strict=True)]
    return _some(pairs, path)


def _below(root: Path, text: str, where: str) -> Path:
    parts = Path(text).parts
    if Path(text).is_absolute():
        parts = parts[-2:]
    if ".." in parts:
        raise ValueError(f"{where}: {text[:80]!r} leads out of the folder")
    return root.joinpath(*parts)


def voc_pairs(root: Path, split: str, labels: LabelSet) -> list[LabelledFile]:
    """The pictures that ImageSets/Segmentation/`split`.txt names (Everingham et al. 2010)."""
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    pairs = []
    for number, line in enumerate(_lines(path), start=1):
        name = Path(line)
        if name.name != line:
            raise ValueError(f"{path}, line {number}: {line[:80]!r} is no plain name")
        picture = root / "JPEGImages" / f"{line}.jpg"
        mask = root / "SegmentationClass" / f"{line}.png"
        pairs.append(LabelledFile(line, picture, mask, labels))
    return _some(pairs, path)


def folder_pairs(root: Path, split: str) -> tuple[list[LabelledFile], LabelSet]:
    """The pairs of a folder of your own, and its labels.

    Either lists as SegNet's, or pictures in images/ and label maps of the same names in masks/ (or
    labels/), which are then split by chance, always the same way. classes.txt names the classes;
    without it they are the numbers in the maps. Raises FileNotFoundError or ValueError, naming the
    file, for anything else.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if split not in SPLITS:
        raise ValueError(f"{root} has no split {split!r}; expected one of {', '.join(SPLITS)}")
    placeholder = numbered(VOID)
    listed = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
    # A split without a list beside others that have one is missing: drawn by chance from all
    # pictures it would hold those that are learned from.
    if listed:
        of_split = {
            name: segnet_pairs(root, name, placeholder) for name in sorted({*listed, split})
        }
        everything = [pair for pairs in of_split.values() for pair in pairs]
        chosen = of_split[split]
    else:
        everything = _pairs_by_name(root, placeholder)
        chosen = _share(everything, split)
        if not chosen:
            raise ValueError(f"{root}: {len(everything)} pictures leave none for split {split!r}")
    names = root / CLASSES
    labels = read_classes(names) if names.is_file() else _counted(everything)
    return [LabelledFile(p.id, p.picture, p.mask, labels) for p in chosen], labels


def _pairs_by_name(root: Path, labels: LabelSet) -> list[LabelledFile]:
    masks = next((root / name for name in _MASKS if (root / name).is_dir()), None)
    if masks is None or not (root / "images").is_dir():
        raise FileNotFoundError(
            f"{root}: expected images/ and masks/, or the lists {', '.join(SPLITS)} (.txt)"
        )
    pairs: dict[Path, LabelledFile] = {}
    for picture in pictures_below(root / "images"):
        name = picture.relative_to(root / "images").with_suffix("")
        mask = masks / f"{name}.png"
        if mask in pairs:
            raise ValueError(f"{mask}: a label map for {pairs[mask].picture} and for {picture}")
        if not mask.is_file():
            raise FileNotFoundError(f"{mask}: no label map for {picture}")
        pairs[mask] = LabelledFile(name.as_posix(), picture, mask, labels)
    return _some(list(pairs.values()), root / "images")


def _share(pairs: Sequence[LabelledFile], split: str) -> list[LabelledFile]:
    order = np.random.default_rng(0).permutation(len(pairs))
    ends = np.rint(np.cumsum(_SHARES) * len(pairs)).astype(int)
    which = SPLITS.index(split)
    chosen = order[ends[which - 1] if which else 0 : ends[which]]
    return [pairs[number] for number in sorted(chosen.tolist())]


def _counted(pairs: Sequence[LabelledFile]) -> LabelSet:
    """As many classes as the largest number in the label maps says."""
    largest = 0
    for pair in pairs:
        raw = read_labels(pair.mask)
        if raw.ndim == 3:
            raise ValueError(f"{pair.mask}: classes are colours; {CLASSES} has to say which")
        largest = max(largest, int(raw[raw != VOID].max(initial=0)))
    if largest == 0:
        raise ValueError(
            f"{pairs[0].mask.parent}: the label maps hold no number but 0 (and {VOID}, which is "
            "void); expected 0, 1, ... for the classes"
        )
    return numbered(largest + 1)


def _some(pairs: list[LabelledFile], where: Path) -> list[LabelledFile]:
    if not pairs:
        raise ValueError(f"{where}: the split is empty")
    return pairs


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such split list")
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise ValueError(f"{path}: larger than {_MAX_LIST_BYTES} bytes")
    text = path.read_bytes().decode("utf-8", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
