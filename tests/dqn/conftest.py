"""Small environments and recipes, and a player in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core.io import weights
from dqn.environments import Protocol, Signature
from dqn.networks import Architecture, build
from dqn.player import Player
from dqn.recipes import RECIPES, Recipe

VECTOR = Signature((4,), 1, ("0", "1"))
SCREEN = Signature((44, 44), 4, ("left", "stay", "right"))


def small_recipe(name: str = "cartpole", **changes: Any) -> Recipe:
    """A recipe that is over in a second."""
    small = {
        "hidden": (16,),
        "width": 2,
        "steps": 300,
        "memory": 400,
        "learning_starts": 40,
        "train_every": 4,
        "target_every": 10,
        "batch_size": 8,
        "epsilon_steps": 200,
        "evaluate_every": 150,
        "evaluate_episodes": 2,
    }
    return replace(RECIPES[name], **{**small, **changes})


@pytest.fixture(scope="session")
def player_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes an untrained player of "CartPole-v1" or "openbook/Catch-v0" to a file."""
    folder = tmp_path_factory.mktemp("players")

    def written(env: str) -> Path:
        core.seed(0)
        signature = VECTOR if env == "CartPole-v1" else SCREEN
        architecture = Architecture(width=2, hidden=(8,))
        network = build(signature, architecture)
        player = Player(network, env, signature, architecture, Protocol())
        path = folder / f"{env.rpartition('/')[2]}.safetensors"
        weights.save_model(network, path, player.card(seed=0), dtype=np.float16)
        return path

    return written
