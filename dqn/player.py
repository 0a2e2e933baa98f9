"""A trained network with what one must know to play: the environment and its protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core import nn
from core.io import weights
from core.io.weights import Card
from dqn.agent import values
from dqn.environments import Environment, Protocol, Signature, make, signature_of
from dqn.networks import Architecture, QNetwork, build

DEFAULT_ENV = "CartPole-v1"

_KIND = "dqn"


@dataclass
class Player:
    """A network, and what it plays."""

    network: QNetwork
    env: str
    signature: Signature
    architecture: Architecture
    protocol: Protocol

    def values(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """The value (N, A) of each action in states (N, ...), without noise."""
        self.network.eval()
        return values(self.network, states)

    def environment(self, *, render_mode: str | None = None) -> Environment:
        """A new environment to play in.

        Raises ValueError when it is none that the network was trained on.
        """
        env = make(self.env, self.protocol, render_mode=render_mode)
        need_same(signature_of(env), self.signature, f"{self.env} here", "what the weights know")
        return env

    def card(
        self, *, metrics: Mapping[str, float | None] | None = None, seed: int | None = None
    ) -> Card:
        """What a file of the weights says."""
        extra = {
            "signature": self.signature,
            "network": self.architecture,
            "protocol": self.protocol,
        }
        return Card(
            architecture=_KIND,
            classes=self.signature.actions,
            data=self.env,
            metrics=metrics or {},
            seed=seed,
            extra={name: json.dumps(asdict(part)) for name, part in extra.items()},  # type: ignore[call-overload]
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of weights with such a card.

        Raises ValueError, naming the file, when it is broken or holds something else.
        """
        card = weights.read_card(path)
        if card.architecture != _KIND:
            raise ValueError(f"{path} is no DQN agent: it holds {card.architecture or 'weights'}")
        try:
            seen, built, played = (
                _object(card.extra[name]) for name in ("signature", "network", "protocol")
            )
            signature = Signature(
                tuple(map(int, seen["frame"])), int(seen["stack"]), tuple(map(str, seen["actions"]))
            )
            architecture = Architecture(**{**built, "hidden": tuple(map(int, built["hidden"]))})
            protocol = Protocol(**played)
            with nn.init.skip_draws():
                network = build(signature, architecture)
        except KeyError as error:
            raise ValueError(f"{path} is no DQN agent: its header lacks {error}") from None
        except (ValueError, TypeError, RecursionError, MemoryError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{path}: broken header: {line}") from None
        weights.load_model(network, path)
        return cls(network.eval(), card.data, signature, architecture, protocol)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text[:40]} is no object")
    return value


def need_same(here: Signature, there: Signature, what: str, whose: str) -> None:
    """Raise ValueError, which says how, when what is here differs from what is there."""
    if len(here.actions) != len(there.actions):
        raise ValueError(f"{what} has {len(here.actions)} actions, {whose} {len(there.actions)}")
    if (here.frame, here.stack) != (there.frame, there.stack):
        raise ValueError(
            f"{what} shows {here.stack} x {here.frame}, {whose} {there.stack} x {there.frame}"
        )


def load_player(env: str | None, path: Path | None = None) -> Player:
    """The player in the file `path`, or the shipped one for the environment.

    Raises FileNotFoundError in one line when there is none, ValueError when that in the file plays
    another environment than `env`, where one is given.
    """
    if path is not None:
        player = Player.load(path)
        if env not in (None, player.env):
            raise ValueError(f"{path} plays {player.env}, not {env}: leave out --env or --weights")
        return player
    env = env or DEFAULT_ENV
    name = weights_name(env)
    known = weights.shipped_names("dqn")
    if name.removesuffix(".safetensors") not in known:
        raise FileNotFoundError(
            f"no weights for {env} ship (there are: {', '.join(known) or 'none'}); train some with "
            f"`python -m dqn.train --env {env}` and pass --weights"
        )
    with weights.shipped("dqn", name) as shipped:
        return Player.load(shipped)


def weights_name(env: str) -> str:
    """The file name of an environment's weights: "pong-v5.safetensors" for "ALE/Pong-v5"."""
    return f"{env.rpartition('/')[2].lower()}.safetensors"
