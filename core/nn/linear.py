"""The affine layer (book, 5.6)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import device as dev
from core import functional as F
from core.nn import init
from core.nn.module import Module
from core.tensor import Parameter, Tensor


class Linear(Module):
    """y = x W^T + b: (..., in_features) to (..., out_features) (book, 5.6.2).

    `weight` is (out_features, in_features), `bias` (out_features,); both start uniform in
    +-1 / sqrt(in_features), as in PyTorch.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = new_parameter(out_features, in_features)
        self.bias = new_parameter(out_features) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        reset_affine(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def forward_relu(self, input: Any) -> Tensor:
        """`relu(forward(input))` as one node."""
        return F.linear_relu(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


def new_parameter(*shape: int) -> Parameter:
    """A parameter of the default dtype, filled with zeros."""
    return Parameter(np.zeros(shape, dev.get_default_dtype()))


def reset_affine(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's first values of linear layers and convolutions: +-1 / sqrt(fan_in), uniformly."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(max(1, init.fans(weight)[0]))
        init.uniform_(bias, -bound, bound)
