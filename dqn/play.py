"""Playing episodes: several environments side by side, one batch of states at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dqn.environments import Environment
from dqn.networks import stacked

Values = Callable[[NDArray[Any]], NDArray[np.float32]]
"""States (N, ...) to the value (N, A) of each action."""


class Episode(NamedTuple):
    """How one episode went."""

    total: float
    """Its return, not discounted, rewards not clipped."""

    length: int
    """Steps of the agent."""

    truncated: bool
    """Whether a limit of time ended it."""


def choose(
    values: Values, states: NDArray[Any], epsilon: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """An action (N,) for each state: the best one, or with probability `epsilon` any."""
    if epsilon <= 0:
        return values(states).argmax(1)
    explores = rng.random(len(states)) < epsilon
    q = values(states)
    return np.where(explores, rng.integers(q.shape[1], size=len(states)), q.argmax(1))


def play(
    environments: Sequence[Environment],
    values: Values,
    seeds: Sequence[int],
    *,
    epsilon: float = 0.0,
    rng: np.random.Generator | None = None,
) -> list[Episode]:
    """Play an episode for each of `seeds`, in their order; as many at a time as environments."""
    rng = np.random.default_rng(0) if rng is None else rng
    episodes: list[Episode] = []
    for first in range(0, len(seeds), len(environments)):
        episodes += _round(environments, values, seeds[first:][: len(environments)], epsilon, rng)
    return episodes


def _round(
    environments: Sequence[Environment],
    values: Values,
    seeds: Sequence[int],
    epsilon: float,
    rng: np.random.Generator,
) -> list[Episode]:
    """One episode of each environment, which begin together; who is done waits."""
    seen = {i: environments[i].reset(seed=seed)[0] for i, seed in enumerate(seeds)}
    done: dict[int, Episode] = {}
    steps = 0
    while seen:
        actions = choose(values, stacked(list(seen.values())), epsilon, rng)
        steps += 1
        for i, action in zip(list(seen), actions, strict=True):
            seen[i], _, terminated, truncated, info = environments[i].step(action)
            if terminated or truncated:
                done[i] = Episode(float(info["episode"]["r"]), steps, bool(truncated))
                del seen[i]
    return [done[i] for i in range(len(seeds))]
