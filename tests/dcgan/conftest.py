"""Small networks and a few pictures, for the tests of what is built on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core.data.images import save_image
from dcgan.artist import Artist

MakeArtist = Callable[..., Artist]


@pytest.fixture
def make_artist() -> MakeArtist:
    """Makes networks with random weights, for pictures of eight pixels unless asked otherwise."""

    def make(**options: Any) -> Artist:
        core.seed(3)
        settings = {"size": 8, "channels": 1, "width": 4, "latent": 6, **options}
        classes = tuple("0123456789"[: options.get("classes", 0)])
        return Artist.new(settings, classes=classes, data="toys")

    return make


@pytest.fixture
def weights_file(tmp_path: Path, make_artist: MakeArtist) -> Path:
    """The file of an untrained generator of digits that is told the class."""
    path = tmp_path / "toys.safetensors"
    make_artist(size=32, classes=10).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of forty pictures in colour."""
    rng = np.random.default_rng(0)
    for number in range(40):
        picture = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)
        save_image(tmp_path / "mine" / f"{number:02d}.png", picture)
    return tmp_path / "mine"
