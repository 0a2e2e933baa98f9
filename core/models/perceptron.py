"""Perceptrons that are logic gates, their weights set by hand (book, chapter 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from core import device as dev
from core import functional as F
from core import nn
from core.tensor import Tensor


class Perceptron(nn.Module):
    """1 where the weighted sum of the inputs plus the bias is above 0, else 0 (book, eq. 2.2).

    (..., 2) gives (...,). Weight and bias are buffers: a step has no gradient to learn from.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, w1: float, w2: float, bias: float) -> None:
        super().__init__()
        dtype = dev.get_default_dtype()
        self.register_buffer("weight", np.array([[w1, w2]], dtype))
        self.register_buffer("bias", np.array([bias], dtype))

    def forward(self, x: Tensor) -> Tensor:
        fires = F.linear(x, self.weight, self.bias) > 0
        return F.cast(fires, self.weight.dtype).squeeze(-1)


class Xor(nn.Module):
    """AND of NAND and OR: two layers do what no single perceptron can (book, 2.5)."""

    def __init__(self) -> None:
        super().__init__()
        self.nand, self.either, self.both = gate("nand"), gate("or"), gate("and")

    def forward(self, x: Tensor) -> Tensor:
        return self.both(F.stack([self.nand(x), self.either(x)], dim=-1))


_GATES: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "and": lambda: Perceptron(0.5, 0.5, -0.7),
        "nand": lambda: Perceptron(-0.5, -0.5, 0.7),
        "or": lambda: Perceptron(0.5, 0.5, -0.2),
        "xor": Xor,
    }
)
GATES = tuple(_GATES)


def gate(name: str) -> nn.Module:
    """A logic gate with the book's weights: (..., 2) of 0 and 1 gives (...,) of 0 and 1.

    Raises ValueError for a name that is not among GATES.
    """
    if name not in _GATES:
        raise ValueError(f"gate {name!r} is unknown; expected one of {', '.join(GATES)}")
    return _GATES[name]()
