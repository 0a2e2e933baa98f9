"""Learn to balance a pole, live; or play a game with shipped weights: curve, film, values."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from core.cli import DemoOptions, resolve_device, run_command
from core.io.files import write_json
from core.training.run import Run
from dqn import recipes
from dqn.environments import TEST, episode_seed
from dqn.evaluate import RETURNS, judge, test
from dqn.player import DEFAULT_ENV, Player, load_player
from dqn.predict import show
from dqn.recording import record
from dqn.train import Options as TrainingOptions
from dqn.train import train

PROMISES = MappingProxyType({"CartPole-v1": 475.0, "openbook/Catch-v0": 9.5, "ALE/Pong-v5": 18.0})
"""Mean return of 30 greedy episodes, at least."""


@dataclass(frozen=True, kw_only=True)
class Options(DemoOptions):
    """Train on CartPole until it is solved, about a minute; with --env, play that game."""

    env: str | None = None
    """Play this environment with its shipped weights: CartPole-v1, openbook/Catch-v0 ..."""

    count: int = 30
    """Greedy episodes to play."""

    @property
    def trains(self) -> bool:
        """It does where nothing names what is to play."""
        return self.train or (self.env is None and self.weights is None)


def main(options: Options) -> dict[str, Any]:
    """Train or load, play, draw, and say how good it was; fails when the promise is missed."""
    player = None if options.trains else load_player(options.env, options.weights)
    run = Run.create(options.out, "dqn", "demo", options)
    figures: dict[str, Any] = {}
    if player is None:
        player, figures = _train(run, options.env or DEFAULT_ENV, options)
    player.network.to(resolve_device(options.device))
    played = test(player, options.count, epsilon=0.0, seed=options.seed)
    write_json(run.path(RETURNS), [episode.total for episode in played])
    show(run, player, record(player, seed=episode_seed(options.seed, TEST, 0, 0)))
    about = {"env": player.env, **figures, "episodes": options.count}
    summary = run.finish({**about, **judge([played])})
    promise = PROMISES.get(player.env)
    # A handful of episodes says nothing about the promise.
    promised = promise is not None and options.weights is None and options.count >= 30
    if promise is not None and promised and summary["mean_return"] < promise:
        raise RuntimeError(
            f"the mean return is {summary['mean_return']:.4g}, the demo promises {promise:g}"
        )
    return summary


def _train(run: Run, env: str, options: Options) -> tuple[Player, dict[str, Any]]:
    name = recipes.recipe_for(env)
    return train(
        run,
        recipes.options(
            TrainingOptions,
            name,
            env=env,
            seed=options.seed,
            device=options.device,
            resume=options.resume,
        ),
    )


if __name__ == "__main__":
    run_command(main, Options)
