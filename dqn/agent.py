"""The agent: what it does in a state, and how it learns from transitions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core import functional as F
from core.device import to_device
from core.tape import no_grad
from core.tensor import Tensor
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
        self._device = next(online.parameters()).device
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
        wanted = self._wanted(batch)
        self.optimizer.zero_grad()
        taken = np.arange(len(wanted)), batch.actions
        q = self.online(self._input(batch.states))[tuple(map(self._there, taken))]
        loss = self._loss(q, wanted, batch.weights)
        loss.backward()
        self.optimizer.step()
        given = q.numpy()
        return Learned(loss.item(), float(given.mean()), wanted - given)

    def _wanted(self, batch: Batch) -> NDArray[np.float32]:
        """r + gamma ** n * max Q of the following states, or r where the episode terminated."""
        following = self._input(batch.following)
        with no_grad():
            q = self.target(following).numpy()
            chosen = (self.online(following).numpy() if self.double else q).argmax(1)
        return batch.returns + batch.discounts * q[np.arange(len(q)), chosen]

    def _loss(
        self, q: Tensor, wanted: NDArray[np.float32], weights: NDArray[np.float32] | None
    ) -> Tensor:
        # Huber's loss has the gradient of the squared error clipped to -1..1, as published.
        if weights is None:
            return F.huber_loss(q, self._there(wanted))
        each = F.huber_loss(q, self._there(wanted), reduction="none")
        return (each * self._there(weights)).mean()

    def _input(self, states: NDArray[Any]) -> Tensor:
        return to_input(states, self._device)

    def _there(self, array: NDArray[Any]) -> Any:
        return to_device(array, self._device)


def values(network: QNetwork, states: NDArray[Any]) -> NDArray[np.float32]:
    """The value (N, A) that a network gives every action in states (N, ...)."""
    with no_grad():
        return network(to_input(states, next(network.parameters()).device)).numpy()
