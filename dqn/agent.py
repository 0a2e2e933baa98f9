"""The agent: what it does in a state, and how it learns from transitions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core import functional as F
from core.device import Array, array_module, to_device, to_host
from core.tape import no_grad
from core.tensor import Tensor
from core.training.step import Recorded
from dqn.networks import QNetwork, to_input
from dqn.replay import Batch


class Learned(NamedTuple):
    """What one update tells."""

    loss: float
    q: float
    """Mean value of what was done in the batch's states."""

    errors: NDArray[np.float32]
    """(N,): value wanted minus value given."""


class Agent:
    """Q-learning with a target network (Mnih et al. 2015, algorithm 1).

    `double` lets the network in training choose the action that the target network values
    (van Hasselt et al. 2016, equation 4).
    """

    def __init__(
        self, online: QNetwork, target: QNetwork, optimizer: Any, *, double: bool = False
    ) -> None:
        self.online, self.target, self.optimizer = online, target, optimizer
        self.double = double
        self._recorded = Recorded(self._learn, next(online.parameters()).device)
        self.target.requires_grad_(False)
        self.update_target()

    def values(self, states: NDArray[Any]) -> NDArray[np.float32]:
        """The value (N, A) of every action."""
        return values(self.online, states)

    def update_target(self) -> None:
        """Give the target network the weights of the one in training."""
        self.target.load_state_dict(self.online.state_dict())

    def learn(self, batch: Batch) -> Learned:
        """One step of the optimiser towards the values that the target network wants."""
        arrays = batch.states, batch.actions, batch.returns, batch.discounts, batch.following
        weights = () if batch.weights is None else (batch.weights,)
        told = to_host(self._recorded(*arrays, *weights))
        return Learned(float(told[-2]), float(told[-1]), told[:-2])

    def _learn(
        self,
        states: Array,
        actions: Array,
        returns: Array,
        discounts: Array,
        following: Array,
        weights: Array | None = None,
    ) -> Array:
        """The step itself, on the device: the errors (N,), the loss, and the mean value given."""
        wanted = self._wanted(returns, discounts, to_input(following))
        self.optimizer.zero_grad()
        every = array_module(actions).arange(len(actions))
        q = self.online(to_input(states))[every, actions]
        # Huber's loss has the gradient of the squared error clipped to -1..1, as published.
        if weights is None:
            loss = F.huber_loss(q, wanted)
        else:
            loss = (F.huber_loss(q, wanted, reduction="none") * weights).mean()
        loss.backward()
        self.optimizer.step()
        given = q.data
        told = loss.data.reshape(1), given.mean(keepdims=True)
        return array_module(given).concatenate([wanted - given, *told])

    def _wanted(self, returns: Array, discounts: Array, following: Tensor) -> Array:
        """r + gamma ** n * max Q of the following states, or r where the episode terminated."""
        with no_grad():
            q = self.target(following).data
            chosen = (self.online(following).data if self.double else q).argmax(1)
        return returns + discounts * q[array_module(q).arange(len(q)), chosen]


def values(network: QNetwork, states: NDArray[Any]) -> NDArray[np.float32]:
    """The value (N, A) that a network gives every action in states (N, ...)."""
    with no_grad():
        device = next(network.parameters()).device
        return network(to_input(to_device(states, device))).numpy()
