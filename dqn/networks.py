"""The networks that give every action a value: for screens, and for vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import nn
from core.device import Array, array_module
from core.kernels.layout import channels_first
from core.tensor import Tensor
from dqn.environments import Signature
from dqn.noisy import NoisyLinear

_KERNELS = ((8, 4), (4, 2), (3, 1))
LEAST_SIDE = 36


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The settings of a network."""

    width: int = 32
    """Filters of the first convolution, for screens; 32 is the published network."""

    hidden: tuple[int, ...] = (512,)
    """Units of the hidden layers."""

    dueling: bool = False
    """Split the value into that of the state and the advantage of each action."""

    noisy: bool = False
    """Explore with noisy weights instead of epsilon."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"--width is {self.width}; expected 1 or more")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"--hidden is {self.hidden}; expected numbers of 1 or more")


class QNetwork(nn.Module):
    """States to the value of each action (N, A).

    `trunk` sees the state, `head` is the last hidden layer and what follows; with `value` beside
    it the network is a dueling one: V + A - mean(A) (Wang et al. 2016, equation 9).
    """

    def __init__(self, trunk: nn.Module, head: nn.Module, value: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.value = value

    def forward(self, input: Any) -> Tensor:
        x = self.trunk(input)
        y: Tensor = self.head(x)
        if self.value is None:
            return y
        return self.value(x) + (y - y.mean(1, keepdim=True))

    def reset_noise(self) -> None:
        """Draw the noise of noisy layers anew."""
        for module in self.modules():
            if isinstance(module, NoisyLinear):
                module.reset_noise()


def build(signature: Signature, architecture: Architecture) -> QNetwork:
    """A network for what `signature` sees: convolutions for screens, none for vectors.

    For screens of 84 x 84 in stacks of four it is that of Mnih et al. 2015 (methods, "Model
    architecture"). Raises ValueError for a screen that is too small.
    """
    *before, last = architecture.hidden
    if signature.is_screen:
        layers, features = _convolutions(signature, architecture.width)
    else:
        layers, features = [], signature.frame[0]
    for size in before:
        layers += [nn.Linear(features, size), nn.ReLU()]
        features = size
    linear: Callable[[int, int], nn.Module] = NoisyLinear if architecture.noisy else nn.Linear

    def head(outputs: int) -> nn.Module:
        return nn.Sequential(linear(features, last), nn.ReLU(), linear(last, outputs))

    actions = head(len(signature.actions))
    value = head(1) if architecture.dueling else None
    network = QNetwork(nn.Sequential(*layers), actions, value)
    if signature.is_screen:
        _begin(network)
    return network


def _begin(network: QNetwork) -> None:
    """First weights that let a small ball through: He et al. 2015, without biases.

    PyTorch's shrink what differs between two screens of Pong fortyfold, while its grey background
    goes through. Updates then follow the background alone, and push one filter after another below
    zero for every screen. So each of the first filters also begins with a mean of zero: a plain
    background is nothing to it.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        assert layer.bias is not None
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    filters = layers[0].weight
    filters.data[...] -= filters.data.mean((1, 2, 3), keepdims=True)


def _convolutions(signature: Signature, width: int) -> tuple[list[nn.Module], int]:
    """The layers up to the flattened features, and how many those are."""
    if min(signature.frame) < LEAST_SIDE:
        raise ValueError(f"screens of {signature.frame}; expected sides of {LEAST_SIDE} or more")
    layers: list[nn.Module] = []
    channels, sides = signature.stack, np.array(signature.frame)
    for (kernel, stride), filters in zip(_KERNELS, (width, 2 * width, 2 * width), strict=True):
        layers += [nn.Conv2d(channels, filters, kernel, stride=stride), nn.ReLU()]
        channels, sides = filters, (sides - kernel) // stride + 1
    return [*layers, nn.Flatten()], channels * int(sides.prod())


def to_input(states: Array) -> Tensor:
    """States of the replay memory as the network's input: screens scaled to 0..1.

    Screens (N, stack, H, W) become float32 that lies channels-last, as convolutions like it.
    """
    if states.ndim != 4:
        return Tensor(states)
    n, stack, height, width = states.shape
    module = array_module(states)
    scaled = module.empty((n, height, width, stack), np.float32)
    for k in range(stack):
        module.multiply(
            states[:, k],
            np.float32(1 / 255),
            out=scaled[..., k],
            dtype=np.float32,
            casting="unsafe",
        )
    return Tensor(channels_first(scaled))


def stacked(observations: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Observations of several environments as one batch of states."""
    return observations[0][None] if len(observations) == 1 else np.stack(observations)
