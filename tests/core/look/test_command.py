"""`python -m core.look`: every experiment makes its picture, or says what it misses."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest

import core
from core import models
from core.data.images import read_image, save_image
from core.data.preprocess import Preprocessing
from core.io import weights
from core.look.__main__ import EXPERIMENTS, Options, main
from core.models.backbone import MEAN, STD, Backbone

INSIDE = ("filters", "feature-maps", "ascent", "grad-cam")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone as it ships, but with few channels and not trained."""
    core.seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    seen = Preprocessing(size=32, resize=32, mean=MEAN, std=STD)
    extra = {"options": '{"channels": [4, 4]}', **seen.header()}
    card = weights.Card(architecture="backbone", classes=("a", "b"), extra=extra)
    weights.save_model(Backbone(2, channels=(4, 4)), path, card)
    return path


@pytest.mark.parametrize("name", ["graph", "optimizer-paths", "activations"])
def test_experiments_without_data(name: str, tmp_path: Path) -> None:
    summary = main(Options(experiment=name, out=tmp_path))  # type: ignore[arg-type]
    assert summary["pictures"] == [f"{name}.png"]
    picture = read_image(tmp_path / f"{name}.png")
    assert picture.shape[0] > 200 and len(np.unique(picture)) > 10


@pytest.mark.parametrize("name", INSIDE)
def test_a_network_is_looked_into(name: str, small: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    save_image(photo, np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8))
    options = Options(
        experiment=name,  # type: ignore[arg-type]
        weights=str(small),
        pictures=(photo,),
        out=tmp_path / "run",
    )
    main(options)
    assert read_image(tmp_path / "run" / f"{name}.png").shape[0] > 100


def test_every_experiment_can_be_asked_for() -> None:
    assert get_args(get_type_hints(Options)["experiment"]) == tuple(EXPERIMENTS)


def test_a_grey_network_is_not_shown_photographs(tmp_path: Path) -> None:
    core.seed(0)
    path = tmp_path / "grey.safetensors"
    card = weights.Card(architecture="simple_convnet", classes=tuple("0123456789"), data="mnist")
    weights.save_model(models.build("simple_convnet"), path, card)
    options = Options(experiment="grad-cam", weights=str(path), out=tmp_path / "run")
    with pytest.raises(ValueError, match="grey takes grey pictures"):
        main(options)
