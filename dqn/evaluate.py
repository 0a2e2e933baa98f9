"""Score trained agents: returns of greedy and of nearly greedy episodes, and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.cli import resolve_device, run_command
from core.io.files import write_json
from core.options import need_positive
from core.training.run import Run
from dqn.environments import TEST, episode_seed
from dqn.play import Episode, play
from dqn.player import Player, load_player
from dqn.statistics import bootstrap_interval, interquartile_mean

RETURNS = "predictions/returns.json"
_LOCKSTEP = 10  # environments side by side, at most


@dataclass(frozen=True, kw_only=True)
class Options:
    """Play episodes with one or several trained agents of an environment, one for each seed."""

    env: str | None = None
    """The environment whose shipped weights play; by default CartPole-v1."""

    weights: tuple[Path, ...] = ()
    """Weights (safetensors) of trainings with different seeds, to use instead."""

    episodes: int = 100
    """Episodes of each agent and each epsilon."""

    epsilon: tuple[float, ...] = (0.0, 0.05)
    """Shares of random actions; the paper's evaluation has 0.05."""

    seed: int = 0
    """Seed of the episodes."""

    out: Path | None = None
    """Folder for the results; by default runs/dqn-evaluate."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU when there is one."""

    def __post_init__(self) -> None:
        need_positive(self, "episodes")
        if not self.epsilon:
            raise ValueError("--epsilon names no share; expected one or more of 0 to 1")
        for epsilon in self.epsilon:
            if not 0 <= epsilon <= 1:
                raise ValueError(f"--epsilon is {epsilon}; expected 0 to 1")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; expected 0 or more")


def main(options: Options) -> dict[str, Any]:
    """Play, and say what the returns are."""
    players = [load_player(options.env, path) for path in options.weights or (None,)]
    names = sorted({player.env for player in players})
    if len(names) > 1:
        raise ValueError(f"--weights of several environments: {', '.join(names)}")
    protocol = players[0].protocol
    if any(player.protocol != protocol for player in players):
        raise ValueError("--weights of several protocols: their returns are not to be compared")
    for player in players:
        player.network.to(resolve_device(options.device))
    run = Run.create(options.out, "dqn", "evaluate", options)
    figures, returns = {}, {}
    for epsilon in options.epsilon:
        name = f"epsilon {epsilon:g}"
        played = [test(p, options.episodes, epsilon=epsilon, seed=options.seed) for p in players]
        figures[name] = judge(played)
        returns[name] = [[episode.total for episode in episodes] for episodes in played]
    write_json(run.path(RETURNS), returns)
    about = {
        "env": names[0],
        "protocol": asdict(protocol),
        "agents": len(players),
        "episodes": options.episodes,
    }
    return run.finish({**about, **figures})


def judge(played: Sequence[Sequence[Episode]]) -> dict[str, Any]:
    """Mean, spread, and the interquartile mean with its interval, of each player's episodes."""
    returns = [np.array([episode.total for episode in episodes]) for episodes in played]
    every = np.concatenate(returns)
    return {
        "mean_return": float(every.mean()),
        "std_return": float(every.std()),
        "lowest_return": float(every.min()),
        "interquartile_mean": interquartile_mean(every),
        "interval_95": list(bootstrap_interval(returns)),
        "mean_of_each": [float(run.mean()) for run in returns],
        "mean_length": float(np.mean([e.length for episodes in played for e in episodes])),
        "truncated": sum(e.truncated for episodes in played for e in episodes),
    }


def test(player: Player, episodes: int, *, epsilon: float, seed: int) -> list[Episode]:
    """Episodes on seeds that no training and no choice of a checkpoint has seen."""
    environments = [player.environment() for _ in range(min(_LOCKSTEP, episodes))]
    seeds = [episode_seed(seed, TEST, 0, i) for i in range(episodes)]
    rng = np.random.default_rng([seed, TEST])
    return play(environments, player.values, seeds, epsilon=epsilon, rng=rng)


if __name__ == "__main__":
    run_command(main, Options)
