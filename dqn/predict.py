"""Let a trained agent play: a film, what it looks at, and what it thinks of each action."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from core import viz
from core.cli import resolve_device, run_command
from core.io.files import write_json
from core.options import need_positive
from core.training.run import Run
from dqn import pictures
from dqn.environments import TEST, Environment, episode_seed, needing
from dqn.evaluate import RETURNS
from dqn.play import play
from dqn.player import Player, load_player
from dqn.recording import Game, record, steps_per_second
from dqn.saliency import saliency, telling_moments

FILM = "film"
_MOMENTS = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """Play episodes; writes a film of the first, its values, and what the network looks at."""

    env: str | None = None
    """The environment whose shipped weights play; by default CartPole-v1."""

    weights: Path | None = None
    """Weights (safetensors) to use instead; they name their environment."""

    episodes: int = 1
    """Episodes to play."""

    epsilon: float = 0.0
    """Share of random actions."""

    film: Literal["gif", "mp4"] = "gif"
    """GIF; or MP4, which needs the extra "render"."""

    window: bool = False
    """Play in a window instead (extra "render"), and write nothing but the returns."""

    longest: int = 600
    """Steps of the GIF, at most."""

    seed: int = 0
    """Seed of the episodes."""

    out: Path | None = None
    """Folder for the results; by default runs/dqn-predict."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU when there is one."""

    def __post_init__(self) -> None:
        need_positive(self, "episodes", "longest")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"--epsilon is {self.epsilon}; expected 0 to 1")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; expected 0 or more")


def main(options: Options) -> dict[str, Any]:
    """Play, draw, and say what the returns are."""
    player = load_player(options.env, options.weights)
    player.network.to(resolve_device(options.device))
    run = Run.create(options.out, "dqn", "predict", options)
    seeds = [episode_seed(options.seed, TEST, 0, i) for i in range(options.episodes)]
    rng = np.random.default_rng(options.seed)
    if options.window or options.film == "mp4":
        with needing("render", f"{player.env} in a window or a film"):
            env = _shown(player, run, options)
            episodes = play([env], player.values, seeds, epsilon=options.epsilon, rng=rng)
            env.close()
    else:
        game = record(
            player, seed=seeds[0], epsilon=options.epsilon, rng=rng, longest=options.longest
        )
        show(run, player, game)
        rest = seeds[1:]
        others = play([player.environment()], player.values, rest, epsilon=options.epsilon, rng=rng)
        episodes = [game.episode, *others]
    returns = [episode.total for episode in episodes]
    write_json(run.path(RETURNS), returns)
    return run.finish(
        {"env": player.env, "episodes": len(episodes), "mean_return": float(np.mean(returns))}
    )


def _shown(player: Player, run: Run, options: Options) -> Environment:
    """An environment that opens a window, or writes its own film with Gymnasium's wrapper."""
    if options.window:
        return player.environment(render_mode="human")
    folder = run.folder / FILM
    # The wrapper warns of what it finds there.
    shutil.rmtree(folder, ignore_errors=True)
    env = player.environment(render_mode="rgb_array")
    return gym.wrappers.RecordVideo(
        env,
        str(folder),
        episode_trigger=lambda _: True,
        name_prefix="game",
        fps=round(steps_per_second(env, player)),
    )


def show(run: Run, player: Player, game: Game) -> None:
    """Write the film of a game, its values, and for screens what the network looks at."""
    viz.save_animation(game.pictures, run.picture("game.gif"), fps=game.fps, rest=False)
    title = f"{player.env}: return {game.episode.total:g} in {game.episode.length} steps"
    figure = pictures.values_along(game, player.signature.actions, title)
    viz.save(figure, run.picture("values.png"))
    if player.signature.is_screen:
        moments = telling_moments(game.values, _MOMENTS)
        figure = pictures.looks(
            [game.states[step, -1] for step in moments],
            [saliency(player.values, game.states[step]) for step in moments],
            [f"step {step}: {player.signature.actions[game.actions[step]]}" for step in moments],
        )
        viz.save(figure, run.picture("saliency.png"))


if __name__ == "__main__":
    run_command(main, Options)
