"""Games that can be looked at: an episode with its pictures and values, and films of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.images import Picture
from dqn import cart_pole
from dqn.environments import Environment, is_atari, needing
from dqn.play import Episode, choose
from dqn.player import Player

_CONSOLE = 60  # frames a second of an Atari 2600, whatever ale-py's metadata says


@dataclass
class Game:
    """An episode, step by step."""

    episode: Episode
    pictures: list[Picture]
    """What a spectator sees, up to the length asked for."""

    states: NDArray[Any]
    """(T, ...): what the network sees."""

    values: NDArray[np.float32]
    """(T, A): what it gives each action there."""

    actions: NDArray[np.int64]
    """(T,)"""

    rewards: NDArray[np.float64]
    """(T,): what each action brought."""

    fps: float
    """Steps in a second, as the game is meant to be seen."""


def record(
    player: Player,
    *,
    seed: int,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
    longest: int = 600,
) -> Game:
    """Play one episode and keep all of it, pictures of its first `longest` steps.

    Raises ValueError, in one line, when drawing the environment needs an extra.
    """
    rng = np.random.default_rng(seed) if rng is None else rng
    drawn = player.env == cart_pole.ID
    env = player.environment(render_mode=None if drawn else "rgb_array")
    observation, _ = env.reset(seed=seed)
    pictures: list[Picture] = []
    states, values, actions, rewards = [], [], [], []
    while True:
        if len(pictures) < longest:
            pictures.append(cart_pole.picture(observation) if drawn else picture_of(env))
        states.append(observation)
        values.append(player.values(observation[None])[0])
        actions.append(int(choose(lambda _: values[-1][None], observation[None], epsilon, rng)[0]))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        rewards.append(float(reward))
        if terminated or truncated:
            break
    episode = Episode(float(info["episode"]["r"]), len(actions), bool(truncated))
    env.close()
    return Game(
        episode,
        pictures,
        np.stack(states),
        np.stack(values),
        np.array(actions),
        np.array(rewards),
        steps_per_second(env, player),
    )


def picture_of(env: Environment) -> Picture:
    """What the environment looks like now, uint8 (H, W, 3)."""
    with needing("render", "a film of this environment"):
        return np.asarray(env.render(), np.uint8)


def steps_per_second(env: Environment, player: Player) -> float:
    """Steps of the agent in a second of the game as it is meant to be seen."""
    if is_atari(player.env):
        return _CONSOLE / player.protocol.frame_skip
    return float(env.metadata.get("render_fps") or 30)
