"""Players in files: what comes back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.io import weights
from dqn.environments import Protocol, Signature, make
from dqn.player import Player, load_player, weights_name
from tests.dqn.conftest import VECTOR


def test_a_player_comes_back_from_its_file(player_file: Callable[[str], Path]) -> None:
    player = Player.load(player_file("openbook/Catch-v0"))
    assert player.env == "openbook/Catch-v0" and player.protocol == Protocol()
    assert player.signature == Signature((44, 44), 4, ("left", "stay", "right"))
    observation, _ = player.environment().reset(seed=0)
    assert player.values(observation[None]).shape == (1, 3)


def changed(path: Path, out: Path, **changes: Any) -> Path:
    """The file with other entries in its header; None takes one away."""
    arrays, header = weights.load(path)
    merged = {**header, **changes}
    weights.save(out, arrays, {key: value for key, value in merged.items() if value is not None})
    return out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"architecture": "unet"}, "is no DQN agent: it holds unet"),
        ({"network": None}, "its header lacks 'network'"),
        ({"network": "[1]"}, "broken header"),
        ({"network": "{"}, "broken header"),
        ({"network": json.dumps({"hidden": [0]})}, "broken header"),
        ({"network": json.dumps({"hidden": [8], "magic": 1})}, "broken header"),
        ({"network": json.dumps({"hidden": [10**15]})}, "broken header"),
        ({"network": json.dumps({"hidden": [9]})}, "does not fit QNetwork"),
        ({"signature": json.dumps({"frame": [4]})}, "its header lacks 'stack'"),
        ({"protocol": json.dumps({"frame_skip": 0})}, "--frame-skip is 0"),
    ],
)
def test_broken_and_hostile_files(
    changes: dict[str, Any], reason: str, player_file: Callable[[str], Path], tmp_path: Path
) -> None:
    path = changed(player_file("CartPole-v1"), tmp_path / "it.safetensors", **changes)
    with pytest.raises(ValueError, match=reason) as caught:
        Player.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_number_of_actions(
    player_file: Callable[[str], Path],
) -> None:
    player = Player.load(player_file("CartPole-v1"))
    player.env = "Acrobot-v1"
    with pytest.raises(ValueError, match="Acrobot-v1 here has 3 actions, what the weights know 2"):
        player.environment()
    player.signature = Signature((4,), 1, ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"shows 1 x \(6,\), what the weights know 1 x \(4,\)"):
        player.environment()


def test_what_does_not_ship(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights for Acrobot-v1 ship .*train"):
        load_player("Acrobot-v1")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_player("CartPole-v1", tmp_path / "none")
    assert weights_name("ALE/Pong-v5") == "pong-v5.safetensors"


@pytest.mark.parametrize("env", ["CartPole-v1", "openbook/Catch-v0"])
def test_what_ships_plays_well(env: str) -> None:
    from dqn.evaluate import test as play_test

    player = load_player(env)
    assert player.env == env
    least = {"CartPole-v1": 475, "openbook/Catch-v0": 9}[env]
    returns = [episode.total for episode in play_test(player, 5, epsilon=0.0, seed=0)]
    assert np.mean(returns) >= least


def test_a_signature_is_that_of_its_environment() -> None:
    from dqn.environments import signature_of

    assert signature_of(make("CartPole-v1", Protocol())) == VECTOR
