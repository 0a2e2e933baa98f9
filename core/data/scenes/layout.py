"""Which digits a scene shows, in which colours, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.data.scenes.dice import Dice
from core.data.scenes.paint import Box, Contrast, Glyph, draw_glyph
from core.data.scenes.sources import Digits, Split
from core.data.scenes.text import (
    COLOUR_NAMES,
    INVERSE,
    RELATIONS,
    Relation,
    Thing,
    combinations,
    relation_between,
)

_SHORTEST, _TALLEST = 0.20, 0.44  # of the picture's shorter side
_MOST_TURN = 12.0  # degrees
_TRIES = 12
_CONTRAST = 34.0  # least distance in L*a*b*
_OVERLAP = 0.08  # of the smaller box
_CLEARER = 1.25  # how much longer the axis of a planned relation is than the other


@dataclass(frozen=True)
class Placed:
    """A digit with its colour, its strokes, and the box they take in the picture."""

    thing: Thing
    glyph: Glyph
    box: Box


def _overlap(a: Box, b: Box) -> float:
    """Return the boxes' common area over the area of the smaller one."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b))
    return width * height / smaller


def _clearly(box: Box, other: Box, relation: Relation) -> bool:
    """Say whether `box` lies in `relation` to `other` by a margin."""
    across = abs((box[0] + box[2]) - (other[0] + other[2]))
    down = abs((box[1] + box[3]) - (other[1] + other[3]))
    near, far = sorted((across, down))
    return far > _CLEARER * near and relation_between(box, other) == relation


class Layout:
    """Arranges digits in pictures of `size` (H, W).

    With `held_out`, scenes of two digits show only the combinations of that split.
    """

    def __init__(self, digits: Digits, size: tuple[int, int], held_out: Split | None) -> None:
        self.size = size
        self._digits = digits
        self._with_label = [np.flatnonzero(digits.labels == label) for label in range(10)]
        self._combinations: dict[Relation, list[Thing]] = {}
        if held_out is not None:
            self._combinations = {name: combinations(held_out, name) for name in RELATIONS}

    def arrange(self, contrast: Contrast, objects: int, dice: Dice) -> list[Placed]:
        """Return `objects` digits, back to front, that stand apart and stand out.

        Each failed attempt is followed by one with smaller digits and less contrast.
        """
        ease = 1.0
        while True:
            found = self._attempt(contrast, objects, ease, dice)
            if found is not None:
                return found
            ease *= 0.97

    def _attempt(
        self, contrast: Contrast, objects: int, ease: float, dice: Dice
    ) -> list[Placed] | None:
        relation = dice.choice(RELATIONS) if self._combinations else None
        placed: list[Placed] = []
        for _ in range(objects):
            if relation is None:
                label, colours = dice.integer(0, 9), dice.shuffled(COLOUR_NAMES)
            else:
                seen_from_here = INVERSE[relation] if placed else relation
                thing = dice.choice(self._combinations[seen_from_here])
                label, colours = thing.digit, [thing.colour]
            one = self._place(label, colours, relation, placed, contrast, ease, dice)
            if one is None:
                return None
            placed.append(one)
        return placed

    def _place(
        self,
        label: int,
        colours: list[str],
        relation: Relation | None,
        placed: list[Placed],
        contrast: Contrast,
        ease: float,
        dice: Dice,
    ) -> Placed | None:
        rows = self._with_label[label]
        digit = self._digits.images[rows[dice.integer(0, len(rows) - 1)]]
        height = dice.uniform(_SHORTEST, _TALLEST) * ease * min(self.size)
        glyph = draw_glyph(digit, height, dice.uniform(-_MOST_TURN, _MOST_TURN))
        if glyph is None:
            return None
        wide, high = glyph.box[2] - glyph.box[0], glyph.box[3] - glyph.box[1]
        for _ in range(_TRIES):
            left = dice.integer(1, self.size[1] - wide - 1)
            top = dice.integer(1, self.size[0] - high - 1)
            box = (left, top, left + wide, top + high)
            if any(_overlap(box, other.box) > _OVERLAP for other in placed):
                continue
            if relation and placed and not _clearly(placed[0].box, box, relation):
                continue
            distances = contrast.within(box)
            for colour in colours:
                thing = Thing(label, colour)
                new = all(thing != other.thing for other in placed)
                if new and distances[colour] >= _CONTRAST * ease:
                    return Placed(thing, glyph, box)
        return None
