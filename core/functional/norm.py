"""Normalisation: by the batch, by the sample, by neighbouring channels (book, 6.3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from core import device as dev
from core import kernels
from core.device import Array
from core.functional.operands import array_of, cast_to, need_float, sum_to, tensor_of
from core.kernels.layout import ufunc
from core.kernels.reference.norm import move
from core.tensor import Tensor, record, requires_grad


def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Each channel with mean 0 and variance 1, then scaled and shifted (Ioffe and Szegedy 2015).

    input (N, C) or (N, C, *S); the others (C,). With `training` the statistics are the
    batch's, and the running ones (arrays or tensors, or None) move towards them in place by
    `momentum`, the variance unbiased; otherwise the running ones are used. Raises ValueError
    for other shapes, and for a single value per channel in training.
    """
    stats = (running_mean, running_var)
    return _batch_norm(input, stats, weight, bias, training, momentum, eps, relu=False)


def batch_norm_relu(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
    *,
    shortcut: Any = None,
) -> Tensor:
    """`relu(batch_norm(...) + shortcut)` as one node, which keeps one result instead of three.

    As `batch_norm`; `shortcut`, if any, has the input's shape (else ValueError) and dtype (else
    TypeError). The end of a residual block (He et al. 2016, figure 2).
    """
    stats = (running_mean, running_var)
    return _batch_norm(
        input, stats, weight, bias, training, momentum, eps, relu=True, shortcut=shortcut
    )


def _batch_norm(
    input: Any,
    stats: tuple[Any, Any],
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
    relu: bool,
    shortcut: Any = None,
) -> Tensor:
    name = "batch_norm"
    x, w, b = _operands(name, input, weight, bias)
    s = _shortcut(f"{name}_relu", shortcut, x)
    running = _running(name, x, *stats)
    k, channels = kernels.of(x.data), x.shape[1]
    factor = None if w is None else w.data
    if training:
        count = x.numel() // channels if channels else 0
        if count < 2:
            raise ValueError(
                f"{name}: input of shape {x.shape} has {count} value(s) per channel, training "
                "needs at least 2"
            )
        mean, rstd, scale = k.batch_statistics(x.data, factor, running, momentum, eps)
    elif running is None:
        raise ValueError(f"{name}: running_mean and running_var are needed without training")
    else:
        mean, rstd, scale = kernels.of(running[0]).given_statistics(*running, factor, eps)
    shift, added = (None if t is None else t.data for t in (b, s))
    y = k.scale_channels(x.data, mean, scale, shift, relu, added)
    needs = requires_grad(x, w, b, s)
    a = x.data if needs[1] or (training and needs[0]) else None
    result = y if relu else None
    affine = next((t.dtype for t in (w, b) if t is not None), x.dtype)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        k = kernels.of(gy)
        gx = gw = gb = None
        kept = result
        if needs[3]:  # the shortcut's gradient is what passes the ReLU
            gy, kept = k.relu_backward(gy, result), None
        if a is not None:
            wanted = (training and needs[0], needs[1], needs[2])
            settings = (mean, rstd, scale, kept, wanted, affine)
            gx, gw, gb = k.batch_norm_gradients(gy, a, *settings)
        if not training or a is None:
            passed = gy if kept is None else k.relu_backward(gy, kept)
            if a is None and needs[2]:
                gb = cast_to(k.channel_sums(passed), affine)
            if needs[0]:
                gx = k.channel_scale_backward(passed, scale)
        return gx, gw, gb, gy if needs[3] else None

    return record(y, (x, w, b, s), backward, f"{name}_relu" if relu else name)


def _shortcut(name: str, value: Any, x: Tensor) -> Tensor | None:
    if value is None:
        return None
    tensor = tensor_of(name, value, "shortcut")
    if tensor.shape != x.shape:
        raise ValueError(f"{name}: shortcut has shape {tensor.shape}, expected {x.shape}")
    if tensor.dtype != x.dtype:
        raise TypeError(f"{name}: shortcut has dtype {tensor.dtype}, expected {x.dtype}")
    return tensor


def _operands(
    name: str, input: Any, weight: Any, bias: Any
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The input (N, C, *S), and a weight and bias (C,) where given."""
    x = tensor_of(name, input)
    need_float(name, x)
    if x.ndim < 2:
        raise ValueError(f"{name}: input has shape {x.shape}, expected (N, C) or (N, C, *S)")
    w = _affine(name, "weight", weight, (x.shape[1],), x)
    return x, w, _affine(name, "bias", bias, (x.shape[1],), x)


def _affine(name: str, what: str, value: Any, shape: tuple[int, ...], x: Tensor) -> Tensor | None:
    if value is None:
        return None
    tensor = tensor_of(name, value, what)
    if tensor.shape != shape:
        raise ValueError(f"{name}: {what} has shape {tensor.shape}, expected {shape}")
    if tensor.dtype != x.dtype and not (tensor.dtype == dev.float32 and x.dtype.itemsize == 2):
        raise TypeError(
            f"{name}: input has dtype {x.dtype}, {what} {tensor.dtype}; expected equal ones"
        )
    return tensor


def _running(name: str, x: Tensor, mean: Any, var: Any) -> tuple[Array, Array] | None:
    if (mean is None) != (var is None):
        raise ValueError(f"{name}: give both running_mean and running_var, or neither")
    if mean is None:
        return None
    stats = array_of(name, mean), array_of(name, var)
    for what, array in zip(("running_mean", "running_var"), stats, strict=True):
        if array.shape != (x.shape[1],):
            raise ValueError(f"{name}: {what} has shape {array.shape}, expected ({x.shape[1]},)")
    return stats


def layer_norm(
    input: Any,
    normalized_shape: Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-05,
) -> Tensor:
    """Each sample's last axes with mean 0 and variance 1, scaled and shifted (Ba et al. 2016).

    The input's last axes have `normalized_shape`, and so do weight and bias. Raises
    ValueError when they have not.
    """
    name = "layer_norm"
    x, shape = tensor_of(name, input), tuple(normalized_shape)
    need_float(name, x)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"{name}: input has shape {x.shape}, expected (..., {shape})")
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    w, b = _affine(name, "weight", weight, shape, x), _affine(name, "bias", bias, shape, x)
    return _standardise(name, x, w, b, shape, x.shape, axes, eps)[0]


def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-05
) -> Tensor:
    """Groups of channels of each sample with mean 0 and variance 1 (Wu and He 2018).

    input (N, C, *S), weight and bias (C,). Raises ValueError when C does not divide.
    """
    name = "group_norm"
    x, w, b = _operands(name, input, weight, bias)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"{name}: {x.shape[1]} channels do not divide into {num_groups} groups")
    return _grouped(name, x, num_groups, w, b, eps)[0]


def instance_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """Each channel of each sample with mean 0 and variance 1 (Ulyanov et al. 2016).

    input (N, C, *S), the others (C,). The running statistics, where given, move towards the
    batch's averages in place; without `use_input_stats` they are used instead. Raises
    ValueError for other shapes, and for a single value per channel.
    """
    name = "instance_norm"
    x, w, b = _operands(name, input, weight, bias)
    running = _running(name, x, running_mean, running_var)
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, w, b, eps=eps)
    count = math.prod(x.shape[2:])
    if x.ndim < 3 or count < 2:
        raise ValueError(f"{name}: input of shape {x.shape} has fewer than 2 values per channel")
    if x.shape[0] == 1:
        # One sample is a batch, whose kernels are faster.
        return _batch_norm(x, (running_mean, running_var), w, b, True, momentum, eps, relu=False)
    y, mean, var = _grouped(name, x, x.shape[1], w, b, eps)
    n = x.shape[0]
    mean, var = (s.reshape(n, -1).mean(axis=0) for s in (mean, var))
    move(running, mean, var * (count / (count - 1)), momentum)
    return y


def _grouped(
    name: str, x: Tensor, groups: int, w: Tensor | None, b: Tensor | None, eps: float
) -> tuple[Tensor, Array, Array]:
    n, channels = x.shape[:2]
    view = (n, groups, channels // groups, *x.shape[2:])
    affine = (channels, *(1,) * (x.ndim - 2))
    return _standardise(name, x, w, b, affine, view, tuple(range(2, len(view))), eps)


def _standardise(
    name: str,
    x: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    affine: tuple[int, ...],
    view: tuple[int, ...],
    axes: tuple[int, ...],
    eps: float,
) -> tuple[Tensor, Array, Array]:
    """(result, mean, variance): x standardised over `axes` of its `view`, scaled and shifted.

    Weight and bias broadcast to x in the shape `affine`; the view only splits an axis.
    """
    k = kernels.of(x.data)
    mean, var = k.moments(x.data, view, axes)
    rstd = (var + eps) ** -0.5
    y = k.standardise(x.data, view, mean, rstd)
    if w is not None:
        y *= w.data.reshape(affine)
    if b is not None:
        y += b.data.reshape(affine)
    needs = requires_grad(x, w, b)
    a = x.data if needs[0] or needs[1] else None
    scale = w.data.reshape(affine) if w is not None and needs[0] else None
    affine_shape = next((t.shape for t in (w, b) if t is not None), ())

    def backward(gy: Array) -> tuple[Array | None, ...]:
        k = kernels.of(gy)
        gb = sum_to(gy, affine).reshape(affine_shape) if needs[2] else None
        if a is None:
            return None, None, gb
        normalised = k.standardise(a, view, mean, rstd)
        gx = gw = None
        if needs[1]:
            gw = sum_to(ufunc("multiply", gy, normalised), affine).reshape(affine_shape)
        if needs[0]:
            g = gy if scale is None else ufunc("multiply", gy, scale)
            gx = k.standardise_backward(g, normalised, view, rstd, axes)
        return gx, gw, gb

    return record(y, (x, w, b), backward, name), mean, var


def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha / size * sum of squares over `size` neighbouring channels)^beta.

    input (N, C, *S). Krizhevsky et al. 2012, 3.3, who do not divide alpha by the size.
    """
    name = "local_response_norm"
    x = tensor_of(name, input)
    need_float(name, x)
    if x.ndim < 3:
        raise ValueError(f"{name}: input has shape {x.shape}, expected (N, C, *S)")
    if size < 1:
        raise ValueError(f"{name}: size is {size}, expected a positive number")
    a, kernel = x.data, kernels.of(x.data)
    base = kernel.response_base(a, size, alpha, k)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).response_norm_backward(gy, a, base, size, alpha, beta),)

    return record(kernel.response_norm(a, base, beta), (x,), backward)
