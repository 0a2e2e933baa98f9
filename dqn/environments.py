"""Environments by name, in the form that the agent sees: frames, and a few actions.

Gymnasium makes and wraps them. A game's screen goes through `AtariPreprocessing` (Mnih et al.
2015, methods, "Preprocessing") and `FrameStackObservation`; vectors stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces, wrappers

from dqn import catch

Environment = gym.Env[Any, Any]

SCREEN = (84, 84)
TRAINING, VALIDATION, TEST = range(3)
"""What episodes are for; no two have a seed in common."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a game is played, which its scores depend on."""

    frame_skip: int = 4
    """Frames of an Atari game for which an action is repeated."""

    sticky: float = 0.0
    """Probability that an Atari game takes the action before instead (Machado et al. 2018)."""

    noops: int = 30
    """An Atari game begins with up to so many frames in which nothing is done."""

    all_actions: bool = False
    """All 18 actions of the Atari console, not only those that the game knows."""

    stack: int = 4
    """Screens that the network sees at once."""

    def __post_init__(self) -> None:
        for flag, value, least in (
            ("--frame-skip", self.frame_skip, 1),
            ("--noops", self.noops, 0),
            ("--stack", self.stack, 1),
        ):
            if value < least:
                raise ValueError(f"{flag} is {value}; expected {least} or more")
        if not 0 <= self.sticky < 1:
            raise ValueError(f"--sticky is {self.sticky}; expected 0 to 1")


@dataclass(frozen=True)
class Signature:
    """What an agent must know of an environment to be built."""

    frame: tuple[int, ...]
    """Shape of one frame: (H, W) of a screen in uint8, (D,) of a vector in float32."""

    stack: int
    """Frames that it sees at once; 1 for vectors."""

    actions: tuple[str, ...]
    """Names of the actions, in order."""

    @property
    def is_screen(self) -> bool:
        """Whether it sees a screen."""
        return len(self.frame) == 2


def is_atari(name: str) -> bool:
    """Whether an environment's name is that of an Atari game."""
    return name.startswith("ALE/")


def make(name: str, protocol: Protocol, *, render_mode: str | None = None) -> Environment:
    """The environment `name`; observations are (stack, H, W) uint8 or (D,) float32.

    The last step of an episode has its whole return as `info["episode"]["r"]`. Raises ValueError,
    in one line, for a name that is not registered, for actions that are no choice among a few, for
    observations that are neither screens nor numbers, and when an extra is not installed.
    """
    catch.register()
    if is_atari(name):
        env = _atari(name, protocol, render_mode)
    else:
        env = _as_screen_or_vector(_made(name, render_mode=render_mode))
    if not isinstance(env.action_space, spaces.Discrete):
        raise ValueError(
            f"{name} has the actions {env.action_space}; DQN chooses among a few, expected Discrete"
        )
    env = wrappers.RecordEpisodeStatistics(env)
    if len(_shape(env)) == 2:
        env = wrappers.FrameStackObservation(env, protocol.stack, padding_type="reset")
    return env


@contextmanager
def needing(extra: str, name: str) -> Iterator[None]:
    """Turn what Gymnasium says of a missing package into one line that names the extra."""
    try:
        yield
    except gym.error.DependencyNotInstalled:
        raise ValueError(f"{name} needs the extra: pip install 'openbook[{extra}]'") from None


def signature_of(env: Environment) -> Signature:
    """What `make` made."""
    stack, *frame = _shape(env) if len(_shape(env)) == 3 else (1, *_shape(env))
    return Signature(tuple(frame), stack, _action_names(env))


def lives_of(env: Environment) -> int:
    """The lives that an Atari game has left; 0 where there are none to count."""
    ale = getattr(env.unwrapped, "ale", None)
    return 0 if ale is None else int(ale.lives())


def frame_of(observation: np.ndarray) -> np.ndarray:
    """The newest frame of an observation, all that the replay memory has to keep of it."""
    return observation[-1] if observation.ndim == 3 else observation


def episode_seed(seed: int, purpose: int, environment: int, episode: int) -> int:
    """The seed of one episode: a function of these four numbers and of nothing else."""
    return int(np.random.SeedSequence([seed, purpose, environment, episode]).generate_state(1)[0])


def _atari(name: str, protocol: Protocol, render_mode: str | None) -> Environment:
    try:
        import ale_py
        import cv2  # noqa: F401  AtariPreprocessing scales with it
    except ImportError:
        raise ValueError(f"{name} needs the extra: pip install 'openbook[atari]'") from None
    gym.register_envs(ale_py)
    # Grey pictures are the cheapest that the emulator gives; the wrapper takes its own anyway.
    env = _made(
        name,
        obs_type="grayscale",
        frameskip=1,
        repeat_action_probability=protocol.sticky,
        full_action_space=protocol.all_actions,
        render_mode=render_mode,
    )
    return wrappers.AtariPreprocessing(
        env, noop_max=protocol.noops, frame_skip=protocol.frame_skip, screen_size=SCREEN[0]
    )


def _made(name: str, **options: Any) -> Environment:
    """`gymnasium.make`, whose errors become one line."""
    given = {key: value for key, value in options.items() if value is not None}
    try:
        # Its checker asks every step what `check_env` asks once in the tests.
        env: Environment = gym.make(name, disable_env_checker=True, **given)
    except gym.error.DependencyNotInstalled as error:
        extra = "box2d" if "box2d" in str(error).lower() else "render"
        raise ValueError(f"{name} needs the extra: pip install 'openbook[{extra}]'") from None
    except (gym.error.Error, ImportError) as error:
        raise ValueError(f"--env {name}: {' '.join(str(error).split())}") from None
    return env


def _as_screen_or_vector(env: Environment) -> Environment:
    """Observations as (H, W) uint8 or (D,) float32."""
    space = env.observation_space
    if isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3):
        if len(space.shape) == 3:
            with needing("atari", _name(env)):
                env = wrappers.GrayscaleObservation(env)
                return wrappers.ResizeObservation(env, SCREEN)
        return env
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.dtype == np.float32:
        return env
    if not space.is_np_flattenable:
        raise ValueError(f"{_name(env)} shows {space}; expected a screen or numbers")
    flat = wrappers.FlattenObservation(env)
    return wrappers.DtypeObservation(flat, np.float32)


def _name(env: Environment) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _shape(env: Environment) -> tuple[int, ...]:
    shape = env.observation_space.shape
    assert shape is not None
    return tuple(shape)


def _action_names(env: Environment) -> tuple[str, ...]:
    assert isinstance(env.action_space, spaces.Discrete)
    if env.action_space.start != 0:
        raise ValueError(f"{_name(env)} counts actions from {env.action_space.start}, expected 0")
    ask = getattr(env.unwrapped, "get_action_meanings", None)
    if ask is not None:
        return tuple(name.lower() for name in ask())
    return tuple(map(str, range(int(env.action_space.n))))
