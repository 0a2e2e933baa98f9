"""From a raw picture to what a network was trained on: scaled, cropped, normalised."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.images import Picture, resize

# Pictures are scaled to 256 and cropped to 224 (Krizhevsky et al. 2012): this much room for crops.
_ROOM = 256 / 224
_INK_SHARE = 20 / 28  # MNIST's digits fill a box of 20 pixels in 28
_HEADER = "preprocessing"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a network's pictures go through: called with one, or several, it gives its input.

    A uint8 picture (H, W, 3) or (H, W), or a sequence of N, becomes float32 (N, C, size, size). The
    shorter side is scaled to `resize`, the centre cut out, and (x / 255 - mean) / std taken; C is
    the length of `mean`.
    """

    size: int
    """Side of the square that the network sees, in pixels."""

    resize: int | None = None
    """Length that the shorter side is scaled to first; None leaves it unless it is below `size`."""

    mean: tuple[float, ...] = (0.0,)
    """Mean of each channel, in 0..1."""

    std: tuple[float, ...] = (1.0,)
    """Standard deviation of each channel, in 0..1."""

    ink: bool = False
    """Bring writing into MNIST's form: bright on black, 20/28 of the side in size, centred."""

    def __post_init__(self) -> None:
        if self.size < 1 or (self.resize is not None and self.resize < self.size):
            raise ValueError(
                f"Preprocessing: size {self.size} and resize {self.resize}, "
                "expected 0 < size <= resize"
            )
        if len(self.mean) not in (1, 3) or len(self.std) != len(self.mean) or min(self.std) <= 0:
            raise ValueError(
                f"Preprocessing: mean {self.mean} and std {self.std}, expected one or three each, "
                "std above 0"
            )

    def __call__(self, pictures: Picture | Sequence[Picture]) -> NDArray[np.float32]:
        several = [pictures] if isinstance(pictures, np.ndarray) else pictures
        return self.normalise(np.stack([self.views(picture)[0] for picture in several]))

    def views(self, picture: Picture, *, flip: bool = False, crops: int = 1) -> NDArray[np.uint8]:
        """The squares (V, C, size, size), uint8, that are cut out of one picture.

        `crops` is 1 for the centre, or 5 for the corners and the centre, of a picture that is
        scaled to leave them room; `flip` adds their mirror images: with five crops, the ten views
        of Krizhevsky et al. 2012 (section 4.1). Raises ValueError for another number.
        """
        if crops not in (1, 5):
            raise ValueError(f"views: crops is {crops}, expected 1 or 5")
        if self.ink:
            cut = _ink(_grey(picture), self.size)[None]
        else:
            cut = np.stack(self._cut(picture, crops))
        channels = _channels(cut, len(self.mean))
        return np.concatenate([channels, channels[..., ::-1]]) if flip else channels

    def normalise(self, squares: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, C, H, W) as float32 with the mean taken off and the deviation 1."""
        mean, std = (np.array(part, np.float32)[:, None, None] for part in (self.mean, self.std))
        return (squares.astype(np.float32) / np.float32(255) - mean) / std

    def _cut(self, picture: Picture, crops: int) -> list[Picture]:
        size = self.size
        target = self.resize
        if crops > 1 and (target or size) == size:
            target = round(size * _ROOM)
        if target is None and min(picture.shape[:2]) < size:
            target = size
        if target is not None and min(picture.shape[:2]) != target:
            picture = resize(picture, target)
        down, right = (length - size for length in picture.shape[:2])
        places = [(down // 2, right // 2)]
        if crops > 1:
            places += [(0, 0), (0, right), (down, 0), (down, right)]
        return [picture[top : top + size, left : left + size] for top, left in places]

    def header(self) -> dict[str, str]:
        """Itself, for the card of weights."""
        return {_HEADER: json.dumps(asdict(self))}

    @classmethod
    def of_header(cls, header: Mapping[str, str], where: str) -> Preprocessing | None:
        """What a card says; None when it says nothing. Raises ValueError for a broken one."""
        if _HEADER not in header:
            return None
        try:
            values: Any = json.loads(header[_HEADER])
            for key in ("mean", "std"):
                values[key] = tuple(float(number) for number in values[key])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{where}: broken header: preprocessing: {line}") from None


def _channels(cut: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Squares (V, S, S) or (V, S, S, 3) as (V, channels, S, S)."""
    if cut.ndim == 4 and channels == 1:
        cut = np.stack([_grey(one) for one in cut])
    if cut.ndim == 3:
        return np.repeat(cut[:, None], channels, axis=1)
    return np.ascontiguousarray(cut.transpose(0, 3, 1, 2))


def _grey(picture: Picture) -> Picture:
    """(H, W, 3) as (H, W), by ITU-R BT.601; the same as it was where all channels are equal."""
    from PIL import Image

    if picture.ndim == 2:
        return picture
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))


def _ink(grey: Picture, size: int) -> Picture:
    """Writing on any even ground as MNIST has it (LeCun et al. 1998): (size, size), ink bright.

    The ink is scaled, proportions kept, to fit 20/28 of the side, and its centre of mass put into
    the middle. A picture of that size with a dark frame is taken to be in this form already.
    Raises ValueError when there is no ink.
    """
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = float(np.median(frame))
    if grey.shape == (size, size) and ground < 64:
        return grey
    away = grey.astype(np.float32) - ground
    ink = np.maximum(away if away.max() > -away.min() else -away, 0)
    if ink.max() < 32:
        raise ValueError("no writing in the picture: it is of one tone")
    ink = np.minimum(ink * (255 / ink.max()), 255)
    # What is fainter is paper, its shadows, and the blur of a compressed picture.
    ink[ink < 64] = 0
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8)
    scale = size * _INK_SHARE / max(box.shape)
    height, width = (max(1, round(length * scale)) for length in box.shape)
    small = resize(box, (height, width))
    mass = small.astype(np.float64)
    middle = [
        (mass.sum(axis=1 - axis) * np.arange(small.shape[axis])).sum() / mass.sum() + 0.5
        for axis in (0, 1)
    ]
    top, left = (
        int(np.clip(round(size / 2 - centre), 0, size - length))
        for centre, length in zip(middle, small.shape, strict=True)
    )
    result = np.zeros((size, size), np.uint8)
    result[top : top + height, left : left + width] = small
    return result
