from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from detection.data import DataName
from detection.proposals.search import MODES
from detection.recipe import RECIPES, Flips, Recipe


def test_every_data_set_has_a_recipe() -> None:
    assert set(RECIPES) == set(get_args(DataName))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipes_are_possible(name: str) -> None:
    recipe = RECIPES[name]
    assert 8 <= recipe.crop <= 112
    assert 0 <= recipe.context < 0.5 and 0 < recipe.nms_iou < 1
    assert recipe.flips in get_args(Flips) and recipe.proposals.mode in MODES
    assert recipe.proposals.max_proposals <= (1000 if name == "bccd" else 2000)


def test_digits_are_not_mirrored() -> None:
    assert RECIPES["scenes"].flips == RECIPES["scenes-mnist"].flips == "none"


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Recipe().crop = 3  # type: ignore[misc]
