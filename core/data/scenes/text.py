"""Sentences about scenes: how they are written, read back, and split into train and test."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from core.data.scenes.sources import Split

Relation = Literal["left of", "right of", "above", "below"]
RELATIONS: tuple[Relation, ...] = ("left of", "right of", "above", "below")
INVERSE: dict[Relation, Relation] = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}
COLOUR_NAMES = ("red", "orange", "yellow", "green", "blue", "purple", "white", "black")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

PAIR_TEMPLATES = (
    "{A} {a} is {relation} {B} {b}",
    "there is {A} {a:d} {relation} {B} {b:d}",
    "the {a} is {relation} the {b}",
    "{relation} {B} {b} there is {A} {a}",
    "{B} {b} with {A} {a} {beside}",
)
SINGLE_TEMPLATES = (
    "{A} {a}",
    "there is {A} {a:d}",
    "the {a} is alone",
    "you can see {A} {a}",
    "a picture of {A} {a}",
)
_PHRASE: dict[Relation, str] = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
_BESIDE: dict[Relation, str] = {
    "left of": "to its left",
    "right of": "to its right",
    "above": "above it",
    "below": "below it",
}


@dataclass(frozen=True)
class Thing:
    """A digit 0 to 9 and the name of its colour; format `d` writes the digit as a numeral."""

    digit: int
    colour: str

    def __format__(self, style: str) -> str:
        return f"{self.colour} {self.digit if style == 'd' else WORDS[self.digit]}"


@dataclass(frozen=True)
class Description:
    """What a sentence says: `subject` alone, or `subject` in `relation` to `other`."""

    subject: Thing
    relation: Relation | None = None
    other: Thing | None = None


def relation_between(box: Sequence[float], other: Sequence[float]) -> Relation:
    """Return where `box` lies as seen from `other`, both (x1, y1, x2, y2).

    The axis along which the boxes' centres are farther apart decides; a tie is horizontal.
    """
    across = (box[0] + box[2]) - (other[0] + other[2])
    down = (box[1] + box[3]) - (other[1] + other[3])
    if abs(across) >= abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def _article(thing: Thing) -> str:
    return "an" if thing.colour[0] in "aeiou" else "a"


def write_sentence(description: Description, template: int) -> str:
    """Write a description with one of the five templates for pairs or for single digits.

    Raises ValueError unless `template` is 0 to 4.
    """
    pair = description.relation is not None and description.other is not None
    templates = PAIR_TEMPLATES if pair else SINGLE_TEMPLATES
    if not 0 <= template < len(templates):
        raise ValueError(f"template must be 0 to {len(templates) - 1}, got {template}")
    subject, relation, other = (
        description.subject,
        description.relation,
        description.other,
    )
    words: dict[str, object] = {"a": subject, "A": _article(subject)}
    if relation is not None and other is not None:
        words.update(b=other, B=_article(other))
        words.update(relation=_PHRASE[relation], beside=_BESIDE[relation])
    return templates[template].format(**words)


def _pattern(template: str) -> re.Pattern[str]:
    colour = "|".join(COLOUR_NAMES)
    digit = "|".join((*WORDS, r"\d"))
    pieces = {"A": "an?", "B": "an?"}
    for name in "ab":
        pieces[name] = f"(?P<{name}_colour>{colour}) (?P<{name}_digit>{digit})"
    pieces["relation"] = f"(?P<relation>{'|'.join(_PHRASE.values())})"
    pieces["beside"] = f"(?P<beside>{'|'.join(_BESIDE.values())})"
    return re.compile(template.replace(":d}", "}").format(**pieces))


_PATTERNS = tuple(_pattern(template) for template in (*PAIR_TEMPLATES, *SINGLE_TEMPLATES))


def _thing(found: dict[str, str], name: str) -> Thing:
    digit = found[f"{name}_digit"]
    return Thing(int(digit) if digit.isdigit() else WORDS.index(digit), found[f"{name}_colour"])


def parse_sentence(sentence: str) -> Description | None:
    """Return what a sentence says, or None when it follows none of the templates.

    The inverse of `write_sentence`. Case, repeated spaces and a final full stop are ignored.
    """
    plain = " ".join(sentence.lower().rstrip(" .").split())
    for pattern in _PATTERNS:
        match = pattern.fullmatch(plain)
        if match is None:
            continue
        found = {name: text for name, text in match.groupdict().items() if text}
        if "b_digit" not in found:
            return Description(_thing(found, "a"))
        phrases = _PHRASE if "relation" in found else _BESIDE
        spoken = found.get("relation") or found["beside"]
        relation = next(name for name in RELATIONS if phrases[name] == spoken)
        return Description(_thing(found, "a"), relation, _thing(found, "b"))
    return None


def combination_split(thing: Thing, relation: Relation) -> Split:
    """Return the one split that may show `thing` in `relation` to another digit.

    A checksum of "digit colour relation" assigns about 70 % of the 320 combinations to train,
    10 % to val and 20 % to test.
    """
    slot = zlib.crc32(f"{thing.digit} {thing.colour} {relation}".encode()) % 10
    if slot == 0:
        return "val"
    return "test" if slot <= 2 else "train"


def combinations(split: Split, relation: Relation) -> list[Thing]:
    """Return the digits and colours which that split may show in that relation."""
    things = (Thing(digit, colour) for digit, colour in product(range(10), COLOUR_NAMES))
    return [thing for thing in things if combination_split(thing, relation) == split]
