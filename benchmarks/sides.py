"""The sides of a comparison: what a training step needs beside the names that both have.

openbook             this core with its fast kernels
reference            this core with its reference kernels
pytorch              PyTorch, eager, arrays contiguous
pytorch-channels-last
"""

from __future__ import annotations

import zlib
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol

import numpy as np

OURS, REFERENCE, PEER, PEER_LAST = (
    "openbook",
    "reference",
    "pytorch",
    "pytorch-channels-last",
)


class Side(Protocol):
    """A deep-learning package: its modules, optimisers and operations, and tensors in it."""

    nn: Any
    functional: Any
    optim: Any

    def tensor(self, array: np.ndarray) -> Any:
        """A tensor with the values of `array`; pictures lie in memory as the side likes them."""

    def leaf(self, array: np.ndarray) -> Any:
        """The same as something to be optimised."""

    def module(self, module: Any, std: float | None = None) -> Any:
        """`module` with the start values of `weights`, its weights as the side likes them."""

    def join(self, tensors: list[Any], dim: int) -> Any:
        """Tensors one behind the other."""

    def gram(self, features: Any) -> Any:
        """F F^T / (C H W) of features (N, C, H, W)."""

    def autocast(self) -> Any:
        """A context for networks and losses: how precisely the side computes them."""

    def descend(self, loss: Any, optimizer: Any) -> None:
        """The gradients of `loss` and a step of `optimizer`."""

    def no_grad(self) -> Any:
        """A context in which nothing is recorded, for values that go into a loss."""

    def inference(self) -> Any:
        """A context in which nothing is recorded, for networks that only infer."""


class Plain:
    """Computing in the precision of the weights."""

    def autocast(self) -> Any:
        """See Side."""
        return nullcontext()

    def descend(self, loss: Any, optimizer: Any) -> None:
        """See Side."""
        loss.backward()
        optimizer.step()


class Ours(Plain):
    """This core; which kernels it takes, $OPENBOOK_KERNELS says."""

    nn: Any
    functional: Any
    optim: Any

    def __init__(self, threads: int) -> None:
        import core
        from core import functional, kernels, nn, optim

        core.set_num_threads(threads)
        # Loading the backend is part of starting, not of the first step.
        kernels.of(np.empty(1, np.float32))
        self.nn, self.functional, self.optim = nn, functional, optim
        self.no_grad = self.inference = core.no_grad
        self.join, self.gram = functional.cat, functional.gram_matrix

    def tensor(self, array: np.ndarray) -> Any:
        """See Side."""
        from core import Tensor
        from core.kernels.layout import channels_first, to_channels_last

        return Tensor(channels_first(to_channels_last(array)) if array.ndim == 4 else array)

    def leaf(self, array: np.ndarray) -> Any:
        """See Side."""
        return self.tensor(array).requires_grad_()

    def module(self, module: Any, std: float | None = None) -> Any:
        """See Side."""
        for name, parameter in module.named_parameters():
            parameter.copy_(weights(name, parameter.shape, std))
        return module


class Peer(Plain):
    """PyTorch, eager, contiguous or channels-last."""

    nn: Any
    functional: Any
    optim: Any

    def __init__(self, threads: int, channels_last: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.nn, self.functional, self.optim = InPlace(), torch.nn.functional, torch.optim
        self.no_grad, self.inference = torch.no_grad, torch.inference_mode
        self.join = torch.cat

    def tensor(self, array: np.ndarray) -> Any:
        """See Side."""
        tensor = self.torch.from_numpy(array)
        return tensor.contiguous(memory_format=self.layout) if array.ndim == 4 else tensor

    def leaf(self, array: np.ndarray) -> Any:
        """See Side."""
        return self.tensor(array).clone().requires_grad_()

    def module(self, module: Any, std: float | None = None) -> Any:
        """See Side."""
        with self.torch.no_grad():
            for name, parameter in module.named_parameters():
                values = weights(name, tuple(parameter.shape), std)
                parameter.copy_(self.torch.from_numpy(values))
        return module.to(memory_format=self.layout)

    def gram(self, features: Any) -> Any:
        """See Side."""
        n, c, height, width = features.shape
        rows = features.reshape(n, c, height * width)
        return rows @ rows.transpose(1, 2) / (c * height * width)


class InPlace:
    """`torch.nn`, with the activations that its own networks run in place so by default."""

    def __getattr__(self, name: str) -> Any:
        from torch import nn

        value = getattr(nn, name)
        return partial(value, inplace=True) if name in ("ReLU", "LeakyReLU") else value


def side_of(name: str, threads: int) -> Side:
    """The side with this name; ValueError for an unknown one."""
    if name in (OURS, REFERENCE):
        return Ours(threads)
    if name in (PEER, PEER_LAST):
        return Peer(threads, name == PEER_LAST)
    raise ValueError(f"side {name!r}, expected {OURS}, {REFERENCE}, {PEER} or {PEER_LAST}")


def weights(name: str, shape: tuple[int, ...], std: float | None = None) -> np.ndarray:
    """The start of the parameter `name`, the same on every side.

    Matrices and kernels are normal with `std`, by default He's (He et al. 2015); of the vectors,
    scales are one and biases zero.
    """
    if len(shape) < 2:
        return np.full(shape, float(name.endswith("weight")), np.float32)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    scale = np.sqrt(2 / np.prod(shape[1:])) if std is None else std
    return rng.standard_normal(shape, np.float32) * np.float32(scale)
