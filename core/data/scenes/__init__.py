"""Embedded scenes with boxes, masks and sentences; see `Scenes`."""

from core.data.scenes.dataset import Scene, Scenes
from core.data.scenes.sources import BACKGROUNDS, DIGITS, MNIST_DIGITS
from core.data.scenes.text import (
    COLOUR_NAMES,
    RELATIONS,
    Description,
    Thing,
    combination_split,
    parse_sentence,
    relation_between,
    write_sentence,
)

__all__ = [
    "BACKGROUNDS",
    "COLOUR_NAMES",
    "DIGITS",
    "MNIST_DIGITS",
    "RELATIONS",
    "Description",
    "Scene",
    "Scenes",
    "Thing",
    "combination_split",
    "parse_sentence",
    "relation_between",
    "write_sentence",
]
