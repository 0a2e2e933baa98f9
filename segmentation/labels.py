"""Classes, their colours, and the label maps that hold them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.augment import IGNORE

Labels = NDArray[np.uint8]

VOID = IGNORE
"""The label of pixels that nobody labelled: neither learned from nor scored."""

_VOID_COLOUR = (224, 224, 192)  # of Pascal VOC
_VOID_NAMES = ("void", "unlabelled")


@dataclass(frozen=True)
class LabelSet:
    """What the numbers and colours of a data set's label maps mean.

    `names` and `colours` (RGB) are those of all numbers in its files, 0, 1, ...; one named "void"
    or "unlabelled" is none of the `classes`. 255 is void everywhere. Raises ValueError when there
    are no classes, too many, or a name or a colour stands twice.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not self.classes or len(self.names) > VOID or len(self.names) != len(self.colours):
            raise ValueError(
                f"{len(self.names)} labels and {len(self.colours)} colours, expected as many of "
                f"each, up to {VOID}, and at least one class"
            )
        for what, values in (("name", self.names), ("colour", self.colours)):
            if len(set(values)) < len(values):
                twice = next(v for v in values if values.count(v) > 1)
                raise ValueError(f"the {what} {twice} stands twice")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, without void."""
        return tuple(name for name in self.names if name not in _VOID_NAMES)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """The colours (256, 3) of the classes, and of void."""
        palette = np.zeros((256, 3), np.uint8)
        palette[self._meaning()] = self.colours
        palette[VOID] = _VOID_COLOUR
        return palette

    def decode(self, raw: NDArray[np.uint8], where: str) -> Labels:
        """Classes (H, W), and VOID, of a map as its file has it: numbers (H, W) or RGB (H, W, 3).

        Raises ValueError, which begins with `where`, for a number or a colour without a meaning.
        """
        numbers = raw if raw.ndim == 2 else self._numbers(raw, where)
        known = np.zeros(256, bool)
        known[: len(self.names)] = known[VOID] = True
        if not known[numbers].all():
            row, column = np.argwhere(~known[numbers])[0]
            raise ValueError(
                f"{where}: label {numbers[row, column]} in row {row}, column {column}; expected 0 "
                f"to {len(self.names) - 1}, or {VOID} for void"
            )
        meaning = np.full(256, VOID, np.uint8)
        meaning[: len(self.names)] = self._meaning()
        return meaning[numbers]

    def _meaning(self) -> NDArray[np.uint8]:
        """The class of each number, or VOID."""
        void = np.array([name in _VOID_NAMES for name in self.names])
        return np.where(void, VOID, np.cumsum(~void) - 1).astype(np.uint8)

    def _numbers(self, raw: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        codes = _code(raw)
        table = {int(_code(np.array(colour))): n for n, colour in enumerate(self.colours)}
        table.setdefault(int(_code(np.array(_VOID_COLOUR))), VOID)
        found, places = np.unique(codes, return_inverse=True)
        unknown = [code for code in found.tolist() if code not in table]
        if unknown:
            row, column = np.argwhere(codes == unknown[0])[0]
            colour = tuple(raw[row, column].tolist())
            raise ValueError(
                f"{where}: colour {colour} in row {row}, column {column} belongs to no class"
            )
        numbers = np.array([table[code] for code in found.tolist()], np.uint8)
        return numbers[places].reshape(codes.shape)


def _code(colours: NDArray[np.integer]) -> NDArray[np.int64]:
    """RGB (..., 3) as one number (...)."""
    return colours.astype(np.int64) @ np.array([65536, 256, 1])


def voc_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """The first colours of Pascal VOC's palette: the bits of a number, spread over R, G and B."""
    colours = []
    for number in range(count):
        red = green = blue = 0
        for bit in range(8):
            red |= (number >> (3 * bit) & 1) << (7 - bit)
            green |= (number >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (number >> (3 * bit + 2) & 1) << (7 - bit)
        colours.append((red, green, blue))
    return tuple(colours)


def numbered(count: int) -> LabelSet:
    """`count` classes without names."""
    return LabelSet(tuple(f"class {number}" for number in range(count)), voc_colours(count))


def read_classes(path: Path) -> LabelSet:
    """The labels that a text file lists: a name a line, in the order of the numbers.

    A colour such as #804080 may follow a name; the others get Pascal VOC's, or one that is
    left. Raises ValueError, naming file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text in UTF-8") from None
    names: list[str] = []
    given: dict[int, tuple[int, int, int]] = {}
    for line in (line.strip() for line in lines[:1000]):
        if not line:
            continue
        name, _, colour = line.partition("#")
        if not name.strip() or (colour and not re.fullmatch(r"[0-9a-fA-F]{6}", colour)):
            raise ValueError(f"{path}: {line[:60]!r}: expected a name, and #rrggbb or nothing")
        if colour:
            given[len(names)] = _rgb(colour)
        names.append(name.strip())
    taken, usual = set(given.values()), voc_colours(len(names) + VOID)
    spare = (colour for colour in usual[len(names) :] if colour not in taken)
    colours = [
        given.get(n) or (usual[n] if usual[n] not in taken else next(spare))
        for n in range(len(names))
    ]
    try:
        return LabelSet(tuple(names), tuple(colours))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _rgb(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def of_colours(table: Sequence[tuple[str, str]]) -> LabelSet:
    """The labels of (name, "rrggbb") pairs."""
    return LabelSet(tuple(n for n, _ in table), tuple(_rgb(colour) for _, colour in table))


# Background, and the ten digits in the colours that all figures here have.
DIGITS = of_colours(
    [
        ("background", "202020"),
        ("zero", "0072b2"),
        ("one", "e69f00"),
        ("two", "009e73"),
        ("three", "d55e00"),
        ("four", "cc79a7"),
        ("five", "56b4e9"),
        ("six", "f0e442"),
        ("seven", "8c564b"),
        ("eight", "7a5cd6"),
        ("nine", "17becf"),
    ]
)

# The eleven classes of SegNet's tutorial in the colours of its demo.
CAMVID = of_colours(
    [
        ("sky", "808080"),
        ("building", "800000"),
        ("pole", "c0c080"),
        ("road", "804080"),
        ("pavement", "3c28de"),
        ("tree", "808000"),
        ("sign symbol", "c08080"),
        ("fence", "404080"),
        ("car", "400080"),
        ("pedestrian", "404000"),
        ("bicyclist", "0080c0"),
        ("unlabelled", "000000"),
    ]
)

VOC = LabelSet(
    (
        "background",
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
        *("train", "tvmonitor"),
    ),
    voc_colours(21),
)
