"""Normalisation: values centred and scaled by the statistics of some axes.

Statistics are small float64 arrays, whatever the dtype of the values. What is saved for the
backward pass is the input and these statistics; the normalised values are computed again.
"""

from __future__ import annotations

import math
import sys
from functools import partial
from typing import Any

from core.device import Array, array_module
from core.kernels.layout import channels_last, empty, is_channels_last, ufunc, zeros
from core.kernels.reference.activation import relu_, relu_backward

# Values that are summed in their own dtype.
_BLOCK = 4096

Running = tuple[Array, Array] | None
Statistics = tuple[Array, Array, Array]


def channel_sums(x: Array) -> Array:
    """(C,) float64: x (N, C, *S) summed over all but the channels."""
    if x.dtype.itemsize < 4:
        x = x.astype("float32")
    n, c, size = x.shape[0], x.shape[1], x.shape[2:]
    # Blocks are summed as products with ones, which is many times faster than a sum over an
    # outer axis; only the blocks are added in float64.
    block = math.prod(size) if math.prod(size) <= _BLOCK else size[-1]
    ones = array_module(x).ones(block, x.dtype)
    if is_channels_last(x):
        sums = ones @ channels_last(x).reshape(n, math.prod(size) // block, block, c)
        return sums.sum(axis=(0, 1), dtype="float64")
    sums = x.reshape(n, c, math.prod(size) // block, block) @ ones
    return sums.sum(axis=(0, 2), dtype="float64")


def batch_moments(x: Array) -> tuple[Array, Array]:
    """The mean and the (biased) variance of each channel of x (N, C, *S), float64."""
    count = x.size // x.shape[1]
    mean = channel_sums(x) / count
    centred = ufunc("subtract", x, _channels(mean, x))
    # The mean of the centred values is what rounding left of it.
    rest = channel_sums(centred) / count
    return mean, channel_sums(ufunc("multiply", centred, centred)) / count - rest * rest


def scale_channels(
    x: Array,
    mean: Array,
    scale: Array,
    shift: Array | None,
    relu: bool = False,
    added: Array | None = None,
) -> Array:
    """(x - mean) * scale + shift, each (C,), + `added` (N, C, *S); `relu` applies max(y, 0)."""
    y = ufunc("subtract", x, _channels(mean, x))
    y *= _channels(scale, x)
    if shift is not None:
        y += _channels(shift, x)
    if added is not None:
        y += added
    if relu:
        relu_(y)
    return y


def batch_norm_sums(
    gy: Array, x: Array, mean: Array, y: Array | None = None
) -> tuple[Array, Array]:
    """The sums over each channel of gy and of gy * (x - mean), float64.

    With the result y of a fused ReLU, gy counts where y is positive.
    """
    if y is not None:
        gy = relu_backward(gy, y)
    product = ufunc("subtract", x, _channels(mean, x))
    product *= gy
    return channel_sums(gy), channel_sums(product)


def batch_norm_backward(
    gy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    scale: Array,
    sums: tuple[Array, Array],
    y: Array | None = None,
) -> Array:
    """scale * (gy - mean of gy - (x - mean) * rstd^2 * mean of gy * (x - mean)).

    The gradient for the input when the statistics are its own (Ioffe and Szegedy 2015, 3);
    `sums` and y as in `batch_norm_sums`.
    """
    if y is not None:
        gy = relu_backward(gy, y)
    count = x.size // x.shape[1]
    gx = ufunc("subtract", x, _channels(mean, x))
    gx *= _channels(-sums[1] / count * rstd * rstd, x)
    gx += gy
    gx -= _channels(sums[0] / count, x)
    gx *= _channels(scale, x)
    return gx


def statistics_by(
    k: Any, x: Array, weight: Array | None, running: Running, momentum: float, eps: float
) -> Statistics:
    """(mean, 1 / deviation, that times the weight) of each channel of x, all float64.

    The running mean and variance move towards x's in place, the variance unbiased. The moments
    are those of the kernels `k`; a backend's `batch_statistics` is this with its own.
    """
    count = x.size // x.shape[1]
    mean, var = k.batch_moments(x)
    move(running, mean, var * (count / (count - 1)), momentum)
    return _scaled(mean, var, weight, eps)


def move(running: Running, mean: Array, var: Array, momentum: float) -> None:
    """Move the running statistics, if there are any, towards those of a batch, in place."""
    for old, new in zip(running or (), (mean, var), strict=False):
        old *= 1 - momentum
        old += (momentum * new).astype(old.dtype)


def given_statistics(mean: Array, var: Array, weight: Array | None, eps: float) -> Statistics:
    """As `statistics_by`, of a mean and a variance that are given."""
    return _scaled(mean.astype("float64"), var.astype("float64"), weight, eps)


def _scaled(mean: Array, var: Array, weight: Array | None, eps: float) -> Statistics:
    rstd = (var + eps) ** -0.5
    return mean, rstd, rstd if weight is None else rstd * weight


def gradients_by(
    k: Any,
    gy: Array,
    x: Array,
    mean: Array,
    rstd: Array,
    scale: Array,
    y: Array | None,
    needs: tuple[bool, bool, bool],
    affine: Any,
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients, where `needs` says so, for the input, the weight and the bias.

    That for the input, of statistics that are its own, is `batch_norm_backward`; y is the result
    of a fused ReLU, `affine` the dtype of weight and bias. A backend's `batch_norm_gradients` is
    this with its own kernels as `k`.
    """
    sums = k.batch_norm_sums(gy, x, mean, y)
    return (
        k.batch_norm_backward(gy, x, mean, rstd, scale, sums, y) if needs[0] else None,
        (sums[1] * rstd).astype(affine) if needs[1] else None,
        sums[0].astype(affine) if needs[2] else None,
    )


def channel_scale_backward(gy: Array, scale: Array) -> Array:
    """gy * scale (C,): the gradient for the input when the statistics are given."""
    return ufunc("multiply", gy, _channels(scale, gy))


def _channels(values: Array, like: Array) -> Array:
    """(C,) as (1, C, 1, ...) in the dtype of `like`."""
    return values.astype(like.dtype).reshape(1, -1, *(1,) * (like.ndim - 2))


def moments(x: Array, view: tuple[int, ...], axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The mean and the (biased) variance over `axes` of x seen in the shape `view`, float64.

    The axes stay with length one.
    """
    seen, count = x.reshape(view), math.prod(view[a] for a in axes)
    mean = seen.sum(axis=axes, dtype="float64", keepdims=True) / count
    centred = ufunc("subtract", seen, mean.astype(x.dtype))
    centred *= centred
    return mean, centred.sum(axis=axes, dtype="float64", keepdims=True) / count


def standardise(x: Array, view: tuple[int, ...], mean: Array, rstd: Array) -> Array:
    """(x - mean) * rstd, which broadcast to x seen in the shape `view`."""
    y = empty(x.shape, x.dtype, x)
    seen = y.reshape(view)
    array_module(x).subtract(x.reshape(view), mean.astype(x.dtype), out=seen)
    seen *= rstd.astype(x.dtype)
    return y


def standardise_backward(
    gy: Array, normalised: Array, view: tuple[int, ...], rstd: Array, axes: tuple[int, ...]
) -> Array:
    """rstd * (gy - mean of gy - normalised * mean of gy * normalised), means over `axes`."""
    count = math.prod(view[a] for a in axes)
    gx = ufunc("multiply", normalised, gy)
    seen = gx.reshape(view)
    slope = seen.sum(axis=axes, dtype="float64", keepdims=True) / count
    level = gy.reshape(view).sum(axis=axes, dtype="float64", keepdims=True) / count
    array_module(gx).multiply(normalised.reshape(view), -slope.astype(gx.dtype), out=seen)
    gx += gy
    seen -= level.astype(gx.dtype)
    seen *= rstd.astype(gx.dtype)
    return gx


def response_base(x: Array, size: int, alpha: float, k: float) -> Array:
    """k + alpha / size * the sum of squares over `size` neighbouring channels."""
    base = _channel_window(ufunc("multiply", x, x), size, size // 2)
    base *= alpha / size
    base += k
    return base


def response_norm(x: Array, base: Array, beta: float) -> Array:
    """x / base^beta (Krizhevsky et al. 2012, 3.3, with alpha over the window's size)."""
    y = ufunc("power", base, -beta)
    y *= x
    return y


def response_norm_backward(
    gy: Array, x: Array, base: Array, size: int, alpha: float, beta: float
) -> Array:
    """The gradient of `response_norm` for x, on which `base` depends as well."""
    gx = ufunc("power", base, -beta)
    gx *= gy
    each = ufunc("multiply", gx, x)
    each /= base
    # Those that see a channel are its neighbours on the other side.
    seen = _channel_window(each, size, (size - 1) // 2)
    seen *= x
    seen *= -2 * alpha * beta / size
    gx += seen
    return gx


def _channel_window(x: Array, size: int, before: int) -> Array:
    """Sums over `size` neighbouring channels, `before` of them in front of each."""
    total, channels = zeros(x.shape, x.dtype, x), x.shape[1]
    for offset in range(-before, size - before):
        first, last = max(0, -offset), min(channels, channels - offset)
        if first < last:
            total[:, first:last] += x[:, first + offset : last + offset]
    return total


_THIS = sys.modules[__name__]
batch_statistics = partial(statistics_by, _THIS)
batch_norm_gradients = partial(gradients_by, _THIS)
