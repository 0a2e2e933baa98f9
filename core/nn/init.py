"""Initialisers: they write random or constant values into a tensor (book, 6.2).

Random ones draw on the host, in the order of the logical shape, from the core's generator
(`core.seed`) or from the `generator` given.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from core import device as dev
from core.tensor import Tensor

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


class _Mode(threading.local):
    draws = True


_mode = _Mode()


@contextmanager
def skip_draws() -> Iterator[None]:
    """Draw nothing inside: what the random initialisers are given keeps its values.

    For a network that is built to be loaded or counted: its weights stay zeros, which take no
    time and, until something is written there, no memory.
    """
    before, _mode.draws = _mode.draws, False
    try:
        yield
    finally:
        _mode.draws = before


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance through a nonlinearity; `param` is leaky_relu's slope.

    Raises ValueError for an unknown name.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        names = ", ".join(sorted([*_GAINS, "leaky_relu"]))
        raise ValueError(f"calculate_gain: {nonlinearity!r} is unknown, expected one of {names}")
    return _GAINS[nonlinearity]


def fans(tensor: Tensor, *, transposed: bool = False) -> tuple[int, int]:
    """(fan_in, fan_out): connections of one output, and of one input, of a weight.

    The weight is (O, I), (K, C / groups, *kernel), or with `transposed` that of a transposed
    convolution, (C, K / groups, *kernel). PyTorch does not know `transposed` and exchanges the two
    there. Raises ValueError for fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"fans: weight has shape {tensor.shape}, expected at least two axes")
    field = math.prod(tensor.shape[2:])
    fan_in, fan_out = tensor.shape[1] * field, tensor.shape[0] * field
    return (fan_out, fan_in) if transposed else (fan_in, fan_out)


def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Draw from the normal distribution."""
    if not _mode.draws:
        return tensor
    values = _generator(generator).standard_normal(tensor.shape, _draw_dtype(tensor))
    values *= std
    values += mean
    return tensor.copy_(values)


def uniform_(
    tensor: Tensor,
    a: float = 0.0,
    b: float = 1.0,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Draw uniformly from [a, b)."""
    if not _mode.draws:
        return tensor
    values = _generator(generator).random(tensor.shape, _draw_dtype(tensor))
    values *= b - a
    values += a
    return tensor.copy_(values)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every value to `val`."""
    return tensor.copy_(np.broadcast_to(np.asarray(val, tensor.dtype), tensor.shape))


def zeros_(tensor: Tensor) -> Tensor:
    """Set every value to 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Set every value to 1."""
    return constant_(tensor, 1)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
    *,
    transposed: bool = False,
) -> Tensor:
    """Normal with the standard deviation gain / sqrt(fan) (He et al. 2015, eq. 10; book, 6.2.3).

    `a` is leaky_relu's slope; `mode` is "fan_in" (keeps the variance forward) or "fan_out"
    (backward); `transposed` as in `fans`. Raises ValueError for another mode or nonlinearity.
    """
    std = _he(tensor, a, mode, nonlinearity, transposed)
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
    *,
    transposed: bool = False,
) -> Tensor:
    """Uniform with the same standard deviation as `kaiming_normal_`, and its arguments."""
    bound = math.sqrt(3) * _he(tensor, a, mode, nonlinearity, transposed)
    return uniform_(tensor, -bound, bound, generator)


def _he(tensor: Tensor, a: float, mode: str, nonlinearity: str, transposed: bool) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode {mode!r}, expected 'fan_in' or 'fan_out'")
    fan = fans(tensor, transposed=transposed)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(1, fan))


def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, generator: np.random.Generator | None = None
) -> Tensor:
    """Normal, deviation gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: np.random.Generator | None = None
) -> Tensor:
    """Uniform with the deviation of `xavier_normal_` (Glorot and Bengio 2010, eq. 16)."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def orthogonal_(
    tensor: Tensor, gain: float = 1.0, generator: np.random.Generator | None = None
) -> Tensor:
    """A random (semi-)orthogonal matrix of the first axis by all others (Saxe et al. 2014)."""
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor has shape {tensor.shape}, expected two axes or more")
    if not _mode.draws:
        return tensor
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    draws = _generator(generator).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draws)
    # Without the signs of r the result is not uniform over the orthogonal matrices.
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return tensor.copy_(gain * (q.T if rows < columns else q).reshape(tensor.shape))


def bilinear_(tensor: Tensor) -> Tensor:
    """Make a transposed convolution interpolate its input bilinearly (Long et al. 2015, 3.3).

    The weight is (C, C, k, k), each channel to itself, or (C, 1, k, k) for `groups=C`; an
    enlargement by s takes k = 2 s - s % 2, stride s and padding (k - s) / 2, rounded up. Raises
    ValueError for another shape.
    """
    shape = tensor.shape
    if len(shape) != 4 or shape[2] != shape[3] or shape[1] not in (1, shape[0]):
        raise ValueError(
            f"bilinear_: weight has shape {shape}, expected (C, C, k, k) or (C, 1, k, k)"
        )
    channels, k = shape[0], shape[2]
    factor = (k + 1) // 2
    centre = factor - 1 if k % 2 else factor - 0.5
    tent = 1 - np.abs(np.arange(k) - centre) / factor
    values = np.zeros(shape)
    own = np.arange(channels)
    values[own, own if shape[1] == channels else 0] = np.outer(tent, tent)
    return tensor.copy_(values)


def _generator(generator: np.random.Generator | None) -> np.random.Generator:
    return dev.random.host if generator is None else generator


def _draw_dtype(tensor: Tensor) -> type[np.float32] | type[np.float64]:
    """The dtype to draw in: half the work and memory for float32 and smaller."""
    return np.float64 if tensor.dtype == np.float64 else np.float32
