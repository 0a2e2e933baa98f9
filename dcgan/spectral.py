"""Spectral normalisation (Miyato et al. 2018): convolutions that stretch nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import Tensor, kernels, nn
from core import device as dev
from core import functional as F
from core.device import Array

_EPSILON = 1e-12


class SpectralConv2d(nn.Conv2d):
    """A convolution whose weight, a matrix (K, C kh kw), is over its largest singular value.

    Each call in training mode takes one step of power iteration on the buffer `u` (K,) (algorithm
    1); gradients flow through the value, as through the division (equation 12).
    """

    u: Tensor

    def __init__(self, in_channels: int, out_channels: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(in_channels, out_channels, *args, **kwargs)
        # Any start but one orthogonal to the vector that is looked for.
        u = np.cos(np.arange(out_channels, dtype=np.float32))
        self.register_buffer("u", Tensor(u / np.linalg.norm(u)))

    def normalised(self) -> Tensor:
        """The weight over its largest singular value."""
        rows = self.weight.reshape(self.out_channels, -1)
        w, u = rows.data, self.u.data[:, None]
        v = _unit(kernels.of(w).matmul(w.T, u))
        if self.training:
            u = _unit(kernels.of(w).matmul(w, v))
            self.u.copy_(u[:, 0])
        value = F.sum(Tensor(u.copy()) * (rows @ Tensor(v)))
        return self.weight / value

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.normalised(), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


def _unit(column: Array) -> Array:
    """A column (N, 1) over its length."""
    square = kernels.of(column).matmul(column.T, column)
    return column / (dev.array_module(column).sqrt(square) + _EPSILON)
