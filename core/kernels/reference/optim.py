"""Steps of optimisers: parameters and their state change in place.

Each takes pieces, tuples of a parameter, its gradient and the arrays of its state, None for one
that the settings do not use. The gradients stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from core.device import Array, array_module

Piece = tuple[Any, ...]


class SGDStep(NamedTuple):
    """The numbers of one step of stochastic gradient descent."""

    rate: float
    momentum: float
    share: float  # of the gradient that is added to the velocity
    nesterov: bool
    weight_decay: float


class AdagradStep(NamedTuple):
    """The numbers of one step of Adagrad."""

    rate: float
    eps: float
    weight_decay: float


class RMSpropStep(NamedTuple):
    """The numbers of one step of RMSprop."""

    rate: float
    alpha: float
    eps: float
    weight_decay: float
    momentum: float


class AdamStep(NamedTuple):
    """The numbers of one step of Adam."""

    rate: float  # over the correction of the first average
    beta1: float
    beta2: float
    root: float  # of the correction of the second average
    eps: float
    weight_decay: float
    shrink: float  # of the parameters, before everything else


def sgd(pieces: Sequence[Piece], step: SGDStep) -> None:
    """velocity = momentum * velocity + share * g; param -= rate * velocity.

    Pieces are (param, gradient, velocity or None); g is gradient + weight_decay * param. With
    `nesterov`, param -= rate * (g + momentum * velocity); without a velocity, param -= rate * g.
    """
    for param, gradient, velocity in pieces:
        module, work = array_module(param), array_module(param).empty_like(param)
        gradient = _decayed(param, gradient, step.weight_decay)
        if velocity is None:
            param += module.multiply(gradient, -step.rate, out=work)
            continue
        velocity *= step.momentum
        velocity += module.multiply(gradient, step.share, out=work)
        module.multiply(velocity, step.momentum if step.nesterov else 1.0, out=work)
        if step.nesterov:
            work += gradient
        work *= -step.rate
        param += work


def adagrad(pieces: Sequence[Piece], step: AdagradStep) -> None:
    """total += g^2; param -= rate * g / (sqrt(total) + eps) (Duchi et al. 2011).

    Pieces are (param, gradient, total); g is gradient + weight_decay * param.
    """
    for param, gradient, total in pieces:
        module, work = array_module(param), array_module(param).empty_like(param)
        gradient = _decayed(param, gradient, step.weight_decay)
        total += module.multiply(gradient, gradient, out=work)
        module.sqrt(total, out=work)
        work += step.eps
        module.divide(gradient, work, out=work)
        work *= -step.rate
        param += work


def rmsprop(pieces: Sequence[Piece], step: RMSpropStep) -> None:
    """square moves towards g^2; param -= rate * g / (sqrt(square - mean^2) + eps).

    Pieces are (param, gradient, square, mean of g or None, velocity or None); g is gradient +
    weight_decay * param. With a velocity, velocity = momentum * velocity + g / (...) and
    param -= rate * velocity (Graves 2013, eq. 38 to 41).
    """
    for param, gradient, square, mean, velocity in pieces:
        module, work = array_module(param), array_module(param).empty_like(param)
        gradient = _decayed(param, gradient, step.weight_decay)
        square *= step.alpha
        module.multiply(gradient, gradient, out=work)
        work *= 1 - step.alpha
        square += work
        if mean is not None:
            module.subtract(gradient, mean, out=work)
            work *= 1 - step.alpha
            mean += work
            module.multiply(mean, mean, out=work)
            module.subtract(square, work, out=work)
            module.sqrt(work, out=work)
        else:
            module.sqrt(square, out=work)
        work += step.eps
        module.divide(gradient, work, out=work)
        if velocity is not None:
            velocity *= step.momentum
            velocity += work
            module.multiply(velocity, -step.rate, out=work)
        else:
            work *= -step.rate
        param += work


def adam(pieces: Sequence[Piece], step: AdamStep) -> None:
    """mean and square move towards g and g^2; param -= rate * mean / (sqrt(square) / root + eps).

    Pieces are (param, gradient, mean, square); g is gradient + weight_decay * param (Kingma and
    Ba 2015, algorithm 1).
    """
    for param, gradient, mean, square in pieces:
        module, work = array_module(param), array_module(param).empty_like(param)
        if step.shrink != 1:
            param *= step.shrink
        gradient = _decayed(param, gradient, step.weight_decay)
        module.subtract(gradient, mean, out=work)
        work *= 1 - step.beta1
        mean += work
        square *= step.beta2
        module.multiply(gradient, gradient, out=work)
        work *= 1 - step.beta2
        square += work
        module.sqrt(square, out=work)
        work /= step.root
        work += step.eps
        module.divide(mean, work, out=work)
        work *= -step.rate
        param += work


def square_sum(arrays: Sequence[Array]) -> Array:
    """The sum of the squares of all values, 0-d, in float64."""
    module = array_module(*arrays)
    # The squares of float16 values above 255 are infinite.
    wide = [a.astype("f4") if a.dtype.itemsize == 2 else a for a in arrays]
    return module.stack([(a * a).sum(dtype="f8") for a in wide]).sum()


def find_overflow(gradients: Sequence[Array], scaling: Array) -> None:
    """Set scaling[1] to 1 where a value is infinite or no number; see `core.amp.GradScaler`."""
    module = array_module(scaling)
    for gradient in gradients:
        wrong = module.logical_not(module.isfinite(gradient).all())
        scaling[1] = module.maximum(scaling[1], wrong)


def adjust_scale(
    state: Array, scaling: Array, growth: float, backoff: float, interval: int
) -> None:
    """Shrink the scale, state[0], after an overflow; let it grow after `interval` steps.

    scaling is then what the next step reads: (1 / scale, no overflow).
    """
    module, overflow = array_module(state), scaling[1] > 0
    age = module.where(overflow, 0, state[1] + 1)
    grown = age >= interval
    factor = module.where(overflow, backoff, module.where(grown, growth, 1.0))
    state[0] *= factor.astype(state.dtype)
    state[1] = module.where(grown, 0, age)
    scaling[0], scaling[1] = 1 / state[0], 0


def unscaled(pieces: Sequence[Piece], scaling: Array) -> list[Piece]:
    """Pieces whose gradients are scaled back; none after an overflow, for which it waits."""
    if float(scaling[1]) > 0:
        return []
    factor = float(scaling[0])
    return [(piece[0], piece[1] * piece[1].dtype.type(factor), *piece[2:]) for piece in pieces]


def scale_(arrays: Sequence[Array], factor: Array) -> None:
    """Multiply every array by the 0-d `factor`, in place."""
    for array in arrays:
        array *= factor.astype(array.dtype)


def _decayed(param: Array, gradient: Array, weight_decay: float) -> Array:
    """gradient + weight_decay * param: the gradient of the loss with an L2 penalty."""
    if not weight_decay:
        return gradient
    module = array_module(param)
    result = module.multiply(param, weight_decay, out=module.empty_like(param))
    return module.add(result, gradient, out=result)
