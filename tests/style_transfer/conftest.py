"""A small random backbone in a file, and small pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

import core
from core.data.images import Picture, save_image
from core.data.preprocess import Preprocessing
from core.io.weights import Card, save_model
from core.models.backbone import MEAN, STD, Backbone
from style_transfer.network import Network, load
from style_transfer.objective import FloatPicture

CHANNELS = (4, 6, 8, 8, 8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    core.seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    seen = Preprocessing(size=64, resize=64, mean=MEAN, std=STD)
    extra = {"options": json.dumps({"channels": CHANNELS}), **seen.header()}
    card = Card(architecture="backbone", classes=("a", "b"), extra=extra)
    save_model(Backbone(2, channels=CHANNELS), path, card)
    return path


@pytest.fixture
def network(weights: Path) -> Network:
    return load("backbone", weights)


def picture(seed: int = 0, height: int = 40, width: int = 48) -> Picture:
    """Smooth random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.repeat(np.repeat(small, height // 5, axis=0), width // 6, axis=1)


def floats(seed: int = 0, height: int = 40, width: int = 48) -> FloatPicture:
    """The same in 0..1."""
    return picture(seed, height, width).astype(np.float32) / np.float32(255)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A content picture and a style, of different sizes."""
    paths = tmp_path / "content.png", tmp_path / "style.jpg"
    save_image(paths[0], picture(0))
    save_image(paths[1], picture(1, 60, 48))
    return paths
