"""Activations, losses of single values and dropout: one kernel each, over memory as it lies."""

from __future__ import annotations

import math

import numpy as np

from core import replay
from core.device import Array, array_module
from core.kernels import reference
from core.kernels.cuda.launch import Source
from core.kernels.layout import as_layout_of, empty, is_channels_last

_SOURCE = Source("elementwise.cu")
_FLAGS = 16  # of a mask that one thread makes


def relu(x: Array) -> Array:
    """See the reference."""
    return _map("relu", x)


def relu_(y: Array) -> None:
    """See the reference."""
    if _dense(y) is y:
        _SOURCE.each("map_relu", y, _packs(y), y.size, y, y)
    else:
        reference.relu_(y)


def relu_backward(gy: Array, y: Array) -> Array:
    """See the reference."""
    return _map("relu_backward", gy, y)


def leaky_relu(x: Array, slope: float) -> Array:
    """See the reference."""
    return _map("leaky_relu", x, number=slope)


def leaky_relu_backward(gy: Array, x: Array, slope: float) -> Array:
    """See the reference."""
    return _map("leaky_relu_backward", gy, x, number=slope)


def elu(x: Array, alpha: float) -> Array:
    """See the reference."""
    return _map("elu", x, number=alpha)


def elu_backward(gy: Array, x: Array, alpha: float) -> Array:
    """See the reference."""
    return _map("elu_backward", gy, x, number=alpha)


def sigmoid(x: Array) -> Array:
    """See the reference."""
    return _map("sigmoid", x)


def sigmoid_backward(gy: Array, y: Array) -> Array:
    """See the reference."""
    return _map("sigmoid_backward", gy, y)


def tanh(x: Array) -> Array:
    """See the reference."""
    return _map("tanh", x)


def tanh_backward(gy: Array, y: Array) -> Array:
    """See the reference."""
    return _map("tanh_backward", gy, y)


def softplus(x: Array) -> Array:
    """See the reference."""
    return _map("softplus", x)


def huber(difference: Array, delta: float) -> Array:
    """See the reference."""
    return _map("huber", difference, number=delta)


def huber_slope(difference: Array, delta: float) -> Array:
    """See the reference."""
    return _map("huber_slope", difference, number=delta)


def binary_cross_entropy(x: Array, target: Array, pos_weight: Array | float) -> Array:
    """See the reference."""
    return _binary("binary_cross_entropy", x, target, pos_weight)


def binary_cross_entropy_slope(x: Array, target: Array, pos_weight: Array | float) -> Array:
    """See the reference."""
    return _binary("binary_cross_entropy_slope", x, target, pos_weight)


def dropout(x: Array, mask: Array, scale: float) -> Array:
    """See the reference."""
    if mask.shape != x.shape or mask.dtype != bool:
        return reference.dropout(x, mask, scale)
    x = _dense(x)
    y = empty(x.shape, x.dtype, x)
    kept, factor = as_layout_of(mask, x), np.float64(scale)
    _SOURCE.each("map_dropout", x, _packs(x), x.size, x, kept, factor, y)
    return y


def dropout_mask(
    shape: tuple[int, ...],
    p: float,
    key: int,
    first: int,
    like: Array,
) -> Array:
    """See the reference; a replayed step adds its number to `first`."""
    mask, size = empty(shape, bool, like), math.prod(shape)
    plane, channels = (math.prod(shape[2:]), shape[1]) if is_channels_last(mask) else (size, 1)
    threshold = np.uint32(min(int(p * 2.0**32), 2**32 - 1))
    counters = np.uint32(key), np.int64(first), replay.numbers((0.0,))
    threads = -(-size // _FLAGS)
    _SOURCE.each("dropout_mask", like, threads, size, plane, channels, *counters, threshold, mask)
    return mask


def _map(name: str, *arrays: Array, number: float | None = None) -> Array:
    """The function `name` of arrays of one shape, laid out as the last of them."""
    numbers = () if number is None else (np.float64(number),)
    if not _alike(*arrays):
        return getattr(reference, name)(*arrays, *(() if number is None else (number,)))
    like = _dense(arrays[-1])
    y = empty(like.shape, like.dtype, like)
    operands = [as_layout_of(a, like) for a in arrays]
    _SOURCE.each(f"map_{name}", like, _packs(like), like.size, *operands, *numbers, y)
    return y


def _binary(name: str, x: Array, target: Array, pos_weight: Array | float) -> Array:
    weights, weight = None, np.float64(1)
    if isinstance(pos_weight, int | float):
        weight = np.float64(pos_weight)
    elif np.broadcast_shapes(x.shape, pos_weight.shape) == x.shape:
        weights = array_module(x).broadcast_to(pos_weight, x.shape)
    else:
        return getattr(reference, name)(x, target, pos_weight)
    if not _alike(x, target, x if weights is None else weights):
        return getattr(reference, name)(x, target, pos_weight)
    x = _dense(x)
    y, target = empty(x.shape, x.dtype, x), as_layout_of(target, x)
    weights = weights if weights is None else as_layout_of(weights, x)
    _SOURCE.each(f"map_{name}", x, _packs(x), x.size, x, target, weights, weight, y)
    return y


def _alike(*arrays: Array) -> bool:
    return all(a.shape == arrays[0].shape and a.dtype == arrays[0].dtype for a in arrays)


def _dense(x: Array) -> Array:
    """x itself where its memory has no gaps, in C order or channels-last; else a copy."""
    dense = x.flags.c_contiguous or is_channels_last(x)
    return x if dense else array_module(x).ascontiguousarray(x)


def _packs(x: Array) -> int:
    """How many threads the values of x keep busy."""
    return -(-x.size * x.dtype.itemsize // 16)
