"""Convolutions (book, 7.2 and 7.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import device as dev
from core import functional as F
from core.functional.operands import pair
from core.kernels.reference.conv import weight_view
from core.nn.linear import new_parameter, reset_affine
from core.nn.module import Module
from core.tensor import Parameter, Tensor

Size = int | Sequence[int]


class _Convolution(Module):
    """What all convolutions share: settings and parameters.

    `weight` has PyTorch's shape, but its memory is (*kernel, second axis, first axis), which
    the kernels read in order.
    """

    weight: Parameter
    bias: Parameter | None
    spatial: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: Size | str,
        dilation: Size,
        groups: int,
        bias: bool,
    ) -> None:
        super().__init__()
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: {in_channels} input and {out_channels} output channels "
                f"do not divide into {groups} groups"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = pair(kernel_size, self.spatial)
        self.stride = pair(stride, self.spatial)
        self.padding = padding if isinstance(padding, str) else pair(padding, self.spatial)
        self.dilation = pair(dilation, self.spatial)
        self.groups = groups
        first, second = self._weight_channels()
        memory = np.zeros((*self.kernel_size, second, first), dev.get_default_dtype())
        self.weight = Parameter(weight_view(memory))
        self.bias = new_parameter(out_channels) if bias else None
        self.reset_parameters()

    def _weight_channels(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels // self.groups

    def reset_parameters(self) -> None:
        """Draw weight and bias anew: uniform in +-1 / sqrt(fan_in), as in PyTorch."""
        reset_affine(self.weight, self.bias)

    def extra_repr(self) -> str:
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        ]
        if self.padding != (0,) * self.spatial:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * self.spatial:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        return ", ".join(parts)


class _ForwardConvolution(_Convolution):
    """A convolution that is no transposed one."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )

    def _settings(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups


class Conv1d(_ForwardConvolution):
    """`F.conv1d` with a weight (out_channels, in_channels / groups, k)."""

    spatial = 1

    def forward(self, input: Any) -> Tensor:
        return F.conv1d(input, self.weight, self.bias, *self._settings())


class Conv2d(_ForwardConvolution):
    """`F.conv2d` with a weight (out_channels, in_channels / groups, kh, kw) (book, 7.4.3)."""

    spatial = 2

    def forward(self, input: Any) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, *self._settings())

    def forward_relu(self, input: Any) -> Tensor:
        """`relu(forward(input))` as one node."""
        return F.conv2d_relu(input, self.weight, self.bias, *self._settings())


class Conv3d(_ForwardConvolution):
    """`F.conv3d` with a weight (out_channels, in_channels / groups, kd, kh, kw)."""

    spatial = 3

    def forward(self, input: Any) -> Tensor:
        return F.conv3d(input, self.weight, self.bias, *self._settings())


class ConvTranspose2d(_Convolution):
    """`F.conv_transpose2d` with a weight (in_channels, out_channels / groups, kh, kw).

    The first values are PyTorch's, whose fan_in counts output channels here;
    `init.bilinear_` makes it an interpolation (book, 8.4.2; Long et al. 2015).
    """

    spatial = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias
        )
        self.output_padding = pair(output_padding)

    def _weight_channels(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def forward(self, input: Any) -> Tensor:
        return F.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if self.output_padding != (0, 0):
            text += f", output_padding={self.output_padding}"
        return text
