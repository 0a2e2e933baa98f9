from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any, get_args

import pytest

from detection.data import DataName
from detection.detector import Detector
from detection.proposals import SearchOptions
from detection.proposals.search import MODES
from detection.recipe import RECIPES, Flips, Recipe
from tests.detection.conftest import MakeDetector


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


@pytest.mark.parametrize(
    "settings", [{"context": 0}, {"nms_iou": 1}, {"proposals": SearchOptions(min_size=16)}]
)
def test_whole_numbers_are_read_back_from_a_detectors_file(
    tmp_path: Path, make_detector: MakeDetector, settings: dict[str, Any]
) -> None:
    recipe = Recipe(crop=16, width=8, **settings)
    make_detector(recipe=recipe).save(tmp_path / "d.safetensors")
    assert Detector.load(tmp_path / "d.safetensors").recipe == recipe


@pytest.mark.parametrize(
    "settings",
    [{"crop": 7}, {"crop": 48.0}, {"nms_iou": 1.5}, {"proposals": SearchOptions(mode="best")}],
)
def test_what_a_file_could_not_be_read_back_with_is_refused_at_once(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="this recipe is not possible"):
        Recipe(**settings)
