"""The recipes of the trainings, by name; every setting is a flag of `python -m dqn.train` too.

python -m dqn.train --recipe pong
python -m dqn.train --env ALE/Breakout-v5 --double --prioritized     # as "atari", but for these
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from core.cli import flag_value
from core.options import need_positive, refuse_idle
from dqn.environments import Protocol, is_atari
from dqn.networks import Architecture


@dataclass(frozen=True, kw_only=True)
class Recipe(Protocol, Architecture):
    """Everything that a training depends on but its seed; the defaults are the paper's."""

    env: str = "CartPole-v1"
    """Any environment of Gymnasium with a choice among a few actions."""

    steps: int = 12_500_000
    """Steps of the agent; the episode under way is played to its end."""

    memory: int = 100_000
    """Frames in the replay memory: 7 kB each for 84 x 84 pixels; the paper has a million."""

    learning_starts: int = 50_000
    """Steps before the first update."""

    train_every: int = 4
    """Steps from one update to the next."""

    target_every: int = 10_000
    """Updates after which the target network takes over the weights."""

    batch_size: int = 32
    """Transitions in one update."""

    optimizer: Literal["rmsprop", "adam"] = "rmsprop"
    """rmsprop is centred, with the paper's settings."""

    lr: float = 0.00025
    """Learning rate."""

    gamma: float = 0.99
    """Discount of a step."""

    epsilon: float = 0.1
    """Share of random actions at last; it begins with 1."""

    epsilon_steps: int = 1_000_000
    """Steps over which it falls, along a line."""

    clip_rewards: bool = True
    """Learn from the sign of the rewards (-1, 0, 1) only."""

    life_loss: bool = True
    """A lost life of an Atari game counts as terminal for the learner; the game goes on."""

    double: bool = False
    """The network in training chooses the action that the target network values."""

    n_step: int = 1
    """Steps whose rewards are summed up before the target network's value."""

    prioritized: bool = False
    """Draw transitions in proportion to their last error."""

    alpha: float = 0.6
    """Exponent of the priorities; 0 draws uniformly."""

    beta: float = 0.4
    """How far the loss makes up for priorities at first; it rises to 1 at the end."""

    environments: int = 1
    """Environments that are played side by side, an episode of each at a time."""

    evaluate_every: int = 250_000
    """Steps from one evaluation to the next."""

    evaluate_episodes: int = 10
    """Greedy episodes of an evaluation; the best one's weights are kept."""

    stop_at: float | None = None
    """Stop when an evaluation's mean return reaches this."""

    def __post_init__(self) -> None:
        Protocol.__post_init__(self)
        Architecture.__post_init__(self)
        need_positive(
            self,
            "steps",
            "memory",
            "train_every",
            "target_every",
            "batch_size",
            "epsilon_steps",
            "n_step",
            "environments",
            "evaluate_every",
            "evaluate_episodes",
        )
        for name in ("gamma", "epsilon", "alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name} is {getattr(self, name)}; expected 0 to 1")
        if self.learning_starts < self.batch_size:
            raise ValueError(
                f"--learning-starts is {self.learning_starts}; expected {self.batch_size} or more, "
                "the transitions of one batch"
            )
        if not self.lr > 0:
            raise ValueError(f"--lr is {self.lr}; expected more than 0")
        if not is_atari(self.env):
            reason = f"for {self.env}: only Atari games (ALE/...) heed it"
            refuse_idle(self, ("frame_skip", "sticky", "noops", "all_actions"), reason)
        if not self.prioritized:
            refuse_idle(self, ("alpha", "beta"), "for uniform draws, without --prioritized")

    @property
    def protocol(self) -> Protocol:
        """The part that says how a game is played."""
        return Protocol(**_part(self, Protocol))

    @property
    def architecture(self) -> Architecture:
        """The part that says what the network is."""
        return Architecture(**_part(self, Architecture))

    def epsilon_at(self, step: int) -> float:
        """Share of random actions after `step` steps; 0 for noisy networks."""
        if self.noisy:
            return 0.0
        return 1 + (self.epsilon - 1) * min(1.0, step / self.epsilon_steps)


def _part(recipe: Recipe, kind: type) -> dict[str, Any]:
    return {field.name: getattr(recipe, field.name) for field in fields(kind)}


_ATARI = Recipe(env="ALE/Breakout-v5")
# The paper's learner in the form of a small computer: Adam, and what later papers found.
_SMALL = Recipe(
    optimizer="adam",
    hidden=(128, 128),
    memory=50_000,
    learning_starts=1_000,
    train_every=2,
    target_every=250,
    lr=0.001,
    batch_size=64,
    epsilon=0.02,
    epsilon_steps=10_000,
    clip_rewards=False,
    double=True,
    n_step=3,
    steps=99_000,
    evaluate_every=2_000,
    evaluate_episodes=50,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "atari": _ATARI,
        "pong": replace(
            _ATARI,
            env="ALE/Pong-v5",
            optimizer="adam",
            lr=0.0001,
            width=16,
            hidden=(256,),
            steps=1_500_000,
            learning_starts=10_000,
            target_every=500,
            epsilon=0.01,
            epsilon_steps=100_000,
            double=True,
            n_step=3,
            evaluate_every=50_000,
            evaluate_episodes=5,
        ),
        "catch": replace(
            _SMALL,
            env="openbook/Catch-v0",
            hidden=(256,),
            width=16,
            batch_size=32,
            lr=0.0005,
            n_step=1,
            steps=30_000,
            evaluate_episodes=50,
            stop_at=9.9,
        ),
        "cartpole": replace(_SMALL, env="CartPole-v1", stop_at=500.0),
        "lunar-lander": replace(
            _SMALL,
            env="LunarLander-v3",
            hidden=(256, 256),
            memory=100_000,
            lr=0.0005,
            epsilon_steps=20_000,
            steps=300_000,
            evaluate_every=10_000,
            evaluate_episodes=30,
            stop_at=240.0,
        ),
        "vector": replace(_SMALL, steps=200_000, evaluate_every=10_000, evaluate_episodes=20),
    }
)

RecipeT = TypeVar("RecipeT", bound=Recipe)


def recipe_for(env: str) -> str:
    """The name of the recipe of an environment: its own, "atari" for games, else "vector"."""
    own = {RECIPES[name].env: name for name in ("cartpole", "catch", "pong", "lunar-lander")}
    return own.get(env) or ("atari" if is_atari(env) else "vector")


def options(kind: type[RecipeT], name: str, **changes: Any) -> RecipeT:
    """The options of a command that follows the recipe `name`, some of them changed.

    Raises ValueError for a name that is not among `RECIPES`.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is unknown; expected one of {', '.join(RECIPES)}")
    return kind(**{"recipe": name, **asdict(RECIPES[name]), **changes})


def defaults(kind: type[RecipeT]) -> Callable[[Sequence[str]], RecipeT]:
    """What a command line's flags change: the recipe of its --recipe, else that of its --env."""

    def chosen(args: Sequence[str]) -> RecipeT:
        env = flag_value("--env", args)
        name = flag_value("--recipe", args)
        return options(kind, name or (recipe_for(env) if env else "cartpole"))

    return chosen
