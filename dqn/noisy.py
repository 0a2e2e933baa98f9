"""A linear layer whose weights are noisy, so that the agent explores without an epsilon."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from core import device as dev
from core import functional as F
from core import nn
from core.nn import init
from core.nn.linear import new_parameter
from core.tensor import Parameter, Tensor


class NoisyLinear(nn.Module):
    """y = (mu + sigma * noise) x + bias, noisy in the same way: (..., I) to (..., O).

    The noise is factorised, f(e_out) f(e_in) with f(e) = sign(e) sqrt(|e|) of normal numbers, and
    stays until `reset_noise`; in evaluation mode there is none. Fortunato et al. 2018, section 3
    and equations 10 and 11.
    """

    weight: Parameter
    weight_sigma: Parameter
    bias: Parameter
    bias_sigma: Parameter
    weight_noise: Tensor
    bias_noise: Tensor

    def __init__(self, in_features: int, out_features: int, *, sigma: float = 0.5) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = new_parameter(out_features, in_features)
        self.weight_sigma = new_parameter(out_features, in_features)
        self.bias = new_parameter(out_features)
        self.bias_sigma = new_parameter(out_features)
        bound = 1 / math.sqrt(in_features)
        for mean, deviation in (
            (self.weight, self.weight_sigma),
            (self.bias, self.bias_sigma),
        ):
            init.uniform_(mean, -bound, bound)
            init.constant_(deviation, sigma * bound)
        noise = np.empty((out_features, in_features), np.float32)
        self.register_buffer("weight_noise", noise, persistent=False)
        self.register_buffer("bias_noise", noise[:, 0].copy(), persistent=False)
        self.reset_noise()

    def reset_noise(self) -> None:
        """Draw the noise anew."""
        inward, outward = _scaled(self.in_features), _scaled(self.out_features)
        self.bias_noise.copy_(outward)
        weight, bias = self.weight_noise.data, self.bias_noise.data
        inward = dev.to_device(inward, self.bias_noise.device)
        dev.array_module(weight).multiply(bias[:, None], inward, out=weight)

    def forward(self, input: Any) -> Tensor:
        if not self.training:
            return F.linear(input, self.weight, self.bias)
        weight = self.weight + self.weight_sigma * self.weight_noise
        return F.linear(input, weight, self.bias + self.bias_sigma * self.bias_noise)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def _scaled(count: int) -> np.ndarray:
    normal = dev.random.host.standard_normal(count, np.float32)
    return np.sign(normal) * np.sqrt(np.abs(normal))
