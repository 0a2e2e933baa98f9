"""A training of seconds, as a program that can be killed: tiny_training.py [train's options]."""

from __future__ import annotations

from dataclasses import replace

import pytest

import detection.data
from core.cli import run_command
from detection import train
from detection.proposals import SearchOptions


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make the scenes few, the recipe small and the epochs short; no worker processes."""
    search = SearchOptions(max_proposals=40, longest_side=64)
    for name, recipe in train.RECIPES.items():
        small = replace(recipe, crop=16, width=8, proposals=search)
        patch.setitem(train.RECIPES, name, small)
    patch.setattr(train, "STEPS_PER_EPOCH", 2)
    patch.setattr("os.cpu_count", lambda: 1)
    for split, count in (("train", 4), ("val", 3), ("test", 3)):
        patch.setitem(detection.data.SCENE_COUNTS, split, count)


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as context:
        shrink(context)
        run_command(train.main, train.Options)
