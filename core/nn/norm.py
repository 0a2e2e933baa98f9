"""Normalisation (book, 6.3).

Everything after the number of features is keyword-only: a second positional number has been
published as a momentum that was taken for eps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core import device as dev
from core import functional as F
from core.functional.operands import tensor_of
from core.nn import init
from core.nn.linear import new_parameter
from core.nn.module import Module
from core.tensor import Parameter, Tensor


class _BatchNorm(Module):
    """Batch normalisation of each channel (Ioffe and Szegedy 2015), with running statistics.

    In training the batch's own mean and variance are used, and the running ones move towards
    them: running = (1 - momentum) * running + momentum * batch; `momentum=None` averages over
    all batches. In inference, the running ones are used.
    """

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    axes: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.weight = new_parameter(num_features) if affine else None
        self.bias = new_parameter(num_features) if affine else None
        dtype, tracked = dev.get_default_dtype(), track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, dtype) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0, and no statistics yet."""
        _reset_scale(self.weight, self.bias)
        self.reset_running_stats()

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batch seen."""
        for buffer, value in (
            (self.running_mean, 0),
            (self.running_var, 1),
            (self.num_batches_tracked, 0),
        ):
            if buffer is not None:
                init.constant_(buffer, value)

    def forward(self, input: Any) -> Tensor:
        return F.batch_norm(input, *self._arguments(input))

    def forward_relu(self, input: Any) -> Tensor:
        """`relu(forward(input))` as one node."""
        return F.batch_norm_relu(input, *self._arguments(input))

    def forward_add_relu(self, input: Any, shortcut: Tensor) -> Tensor:
        """`relu(forward(input) + shortcut)` as one node, for a shortcut of the input's shape and
        dtype.
        """
        return F.batch_norm_relu(input, *self._arguments(input), shortcut=shortcut)

    def _arguments(self, input: Any) -> tuple[Any, Any, Any, Any, bool, float, float]:
        """What follows the input in `F.batch_norm`; counts the batch in training."""
        _check_features(self, input, self.num_features, self.axes)
        training = self.training or self.running_mean is None
        return (
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training,
            self._count_batch() if self.training else 0.0,
            self.eps,
        )

    def _count_batch(self) -> float:
        """The momentum of this batch."""
        if self.num_batches_tracked is None:
            return 0.0
        self.num_batches_tracked.data[...] += 1
        if self.momentum is None:
            return 1.0 / self.num_batches_tracked.item()
        return self.momentum

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """`F.batch_norm` of (N, C) or (N, C, L) over all but C (book, 6.3)."""

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`F.batch_norm` of (N, C, H, W): one mean and variance for each channel."""

    axes = (4,)


class InstanceNorm2d(Module):
    """`F.instance_norm` of (N, C, H, W): each channel of each picture (Ulyanov et al. 2016)."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(self, num_features: int, *, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.affine = affine
        self.weight = new_parameter(num_features) if affine else None
        self.bias = new_parameter(num_features) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset_scale(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        _check_features(self, input, self.num_features, (4,))
        return F.instance_norm(input, weight=self.weight, bias=self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, affine={self.affine}"


class GroupNorm(Module):
    """`F.group_norm` of (N, C, *S): groups of channels of each sample (Wu and He 2018)."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, *, eps: float = 1e-5, affine: bool = True
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: {num_channels} channels do not divide into {num_groups} groups"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.weight = new_parameter(num_channels) if affine else None
        self.bias = new_parameter(num_channels) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset_scale(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class LayerNorm(Module):
    """`F.layer_norm` over the last axes, whose lengths are `normalized_shape` (Ba et al. 2016)."""

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        *,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape = tuple(shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        affine = elementwise_affine
        self.weight = new_parameter(*self.normalized_shape) if affine else None
        self.bias = new_parameter(*self.normalized_shape) if affine and bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        _reset_scale(self.weight, self.bias)

    def forward(self, input: Any) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LocalResponseNorm(Module):
    """`F.local_response_norm` over `size` neighbouring channels (Krizhevsky et al. 2012, 3.3)."""

    def __init__(
        self, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _reset_scale(weight: Parameter | None, bias: Parameter | None) -> None:
    if weight is not None:
        init.ones_(weight)
    if bias is not None:
        init.zeros_(bias)


def _check_features(module: Module, input: Any, features: int, axes: tuple[int, ...]) -> None:
    shape = tensor_of(type(module).__name__, input).shape
    if len(shape) not in axes or shape[1] != features:
        wanted = " or ".join(f"{n} axes" for n in axes)
        raise ValueError(
            f"{type(module).__name__}: input has shape {shape}, expected {features} channels "
            f"in {wanted}"
        )
