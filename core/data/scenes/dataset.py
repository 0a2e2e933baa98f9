"""Embedded scenes: a data set that needs no download and knows every box, mask and sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.data.scenes.dice import Dice
from core.data.scenes.layout import Layout, Placed
from core.data.scenes.paint import (
    Contrast,
    Floats,
    paint_background,
    paint_glyph,
    tight_box,
    wear,
)
from core.data.scenes.sources import (
    SPLITS,
    Split,
    load_backgrounds,
    load_digits,
    load_mnist_digits,
)
from core.data.scenes.text import (
    PAIR_TEMPLATES,
    Description,
    relation_between,
    write_sentence,
)

# Part of every random key: "scenes" means the same pictures for ever, so a change of what is
# painted needs a new name of the data set, and a new number for its key.
_VERSION = 1
_MOST_OBJECTS = 6
_SMALLEST_SIDE = 64


@dataclass(frozen=True)
class Scene:
    """One picture with everything that is known about it; n digits, back to front.

    `picture` uint8 (H, W, 3); `boxes` float32 (n, 4) as x1, y1, x2, y2 in pixels, tight around
    the visible strokes; `labels` int64 (n,), the digits 0 to 9; `colours` their colours' names;
    `mask` uint8 (H, W), 0 for background and digit + 1 on strokes; `instances` uint8 (H, W), 0 for
    background and i + 1 on the strokes of digit i; `sentences` five descriptions; `id` such as
    "test-00017".
    """

    picture: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    colours: tuple[str, ...]
    mask: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    sentences: tuple[str, ...]
    id: str


class Scenes:
    """A sequence of `count` scenes: handwritten digits in colour on photographs and textures.

    `split` is "train", "val" or "test"; digits and photographs of different splits are disjoint.
    `size` is (H, W) of the pictures, at least 64; `objects` the fewest and most digits in one (1
    to 6). `digits` "embedded" (8x8, scikit-learn) makes the data set named "scenes", "mnist" the
    one named "scenes-mnist", which needs MNIST's files (found as by `core.data.idx.mnist`). Scene
    i depends on these options and `seed` only, not on `count` or on what was asked for before.

    With `held_out_combinations` (for captioning; `objects` must be (2, 2)) a digit, its colour and
    its relation to the other digit occur together in one split only (`combination_split`).

    Raises ValueError for an option out of range, IndexError beyond the last scene, and
    FileNotFoundError when MNIST is asked for and absent.
    """

    def __init__(
        self,
        split: Split = "train",
        *,
        count: int = 1000,
        size: tuple[int, int] = (128, 128),
        objects: tuple[int, int] = (1, 4),
        seed: int = 0,
        digits: Literal["embedded", "mnist"] = "embedded",
        data_root: str | Path | None = None,
        held_out_combinations: bool = False,
    ) -> None:
        _check_options(split, count, size, objects, digits, held_out_combinations)
        self.name = "scenes" if digits == "embedded" else "scenes-mnist"
        self.split = split
        self.count = count
        self.size = size
        self.objects = objects
        self.seed = seed
        self.held_out_combinations = held_out_combinations
        self._backgrounds = load_backgrounds(split)
        source = load_digits(split) if digits == "embedded" else load_mnist_digits(split, data_root)
        self._layout = Layout(source, size, split if held_out_combinations else None)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> Scene:
        if not -self.count <= index < self.count:
            raise IndexError(f"{self.name} has {self.count} scenes, got index {index}")
        index = int(index) % self.count
        dice = Dice(f"{self.name}/{_VERSION}/{self.split}/{self.seed}", index)
        picture = paint_background(dice.choice(self._backgrounds), self.size, dice)
        placed = self._layout.arrange(Contrast(picture), dice.integer(*self.objects), dice)
        return _finish(picture, placed, dice, f"{self.split}-{index:05d}")


def _check_options(
    split: str,
    count: int,
    size: tuple[int, int],
    objects: tuple[int, int],
    digits: str,
    held_out_combinations: bool,
) -> None:
    if split not in SPLITS:
        raise ValueError(f"Scenes: split must be one of {', '.join(SPLITS)}, got {split!r}")
    if digits not in ("embedded", "mnist"):
        raise ValueError(f"Scenes: digits must be 'embedded' or 'mnist', got {digits!r}")
    if count < 0:
        raise ValueError(f"Scenes: count must not be negative, got {count}")
    if len(size) != 2 or min(size) < _SMALLEST_SIDE:
        raise ValueError(
            f"Scenes: size must be (height, width) of at least {_SMALLEST_SIDE}, got {size}"
        )
    if len(objects) != 2 or not 1 <= objects[0] <= objects[1] <= _MOST_OBJECTS:
        raise ValueError(
            f"Scenes: objects must be (fewest, most) within 1 to {_MOST_OBJECTS}, got {objects}"
        )
    if held_out_combinations and tuple(objects) != (2, 2):
        raise ValueError(
            f"Scenes: held_out_combinations needs objects=(2, 2), got objects={objects}"
        )


def _finish(picture: Floats, placed: list[Placed], dice: Dice, name: str) -> Scene:
    instances = np.zeros(picture.shape[:2], np.uint8)
    for number, one in enumerate(placed, 1):
        paint_glyph(picture, one.glyph, one.box[0], one.box[1], one.thing.colour, dice)
        x1, y1, x2, y2 = one.glyph.box
        strokes = one.glyph.ink[y1:y2, x1:x2] >= 0.5
        instances[one.box[1] : one.box[3], one.box[0] : one.box[2]][strokes] = number
    labels = np.array([one.thing.digit for one in placed], np.int64)
    visible = [tight_box(instances == number) for number in range(1, len(placed) + 1)]
    boxes = np.array([box or one.box for box, one in zip(visible, placed, strict=True)], np.float32)
    return Scene(
        picture=wear(picture, dice),
        boxes=boxes,
        labels=labels,
        colours=tuple(one.thing.colour for one in placed),
        mask=np.concatenate([[0], labels + 1]).astype(np.uint8)[instances],
        instances=instances,
        sentences=_describe(placed, boxes, dice),
        id=name,
    )


def _describe(placed: list[Placed], boxes: NDArray[np.float32], dice: Dice) -> tuple[str, ...]:
    """Write one sentence with each template, about a random pair of the scene's digits."""
    sentences = []
    for template in range(len(PAIR_TEMPLATES)):
        first, *others = dice.shuffled(range(len(placed)))
        description = Description(placed[first].thing)
        if others:
            relation = relation_between(boxes[first], boxes[others[0]])
            description = Description(placed[first].thing, relation, placed[others[0]].thing)
        sentences.append(write_sentence(description, template))
    return tuple(sentences)
