"""Steps of optimisers: parameters and their state change in place."""

from __future__ import annotations

from typing import NamedTuple

from core.device import Array, array_module


class SGDStep(NamedTuple):
    """The numbers of one step of stochastic gradient descent."""

    rate: float
    momentum: float
    share: float  # of the gradient that is added to the velocity
    nesterov: bool
    weight_decay: float


class AdamStep(NamedTuple):
    """The numbers of one step of Adam."""

    rate: float  # over the correction of the first average
    beta1: float
    beta2: float
    root: float  # of the correction of the second average
    eps: float
    weight_decay: float
    shrink: float  # of the parameters, before everything else


def sgd(param: Array, gradient: Array, velocity: Array | None, step: SGDStep) -> None:
    """velocity = momentum * velocity + share * g; param -= rate * velocity.

    g is gradient + weight_decay * param. With `nesterov`, param -= rate * (g + momentum *
    velocity); without a velocity, param -= rate * g. The gradient stays as it is.
    """
    module, work = array_module(param), array_module(param).empty_like(param)
    gradient = _decayed(param, gradient, step.weight_decay)
    if velocity is None:
        module.multiply(gradient, -step.rate, out=work)
    else:
        velocity *= step.momentum
        velocity += module.multiply(gradient, step.share, out=work)
        if step.nesterov:
            module.multiply(velocity, step.momentum, out=work)
            work += gradient
            work *= -step.rate
        else:
            module.multiply(velocity, -step.rate, out=work)
    param += work


def adam(param: Array, gradient: Array, mean: Array, square: Array, step: AdamStep) -> None:
    """mean and square move towards g and g^2; param -= rate * mean / (sqrt(square) / root + eps).

    g is gradient + weight_decay * param (Kingma and Ba 2015, algorithm 1). The gradient stays
    as it is.
    """
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


def _decayed(param: Array, gradient: Array, weight_decay: float) -> Array:
    """gradient + weight_decay * param: the gradient of the loss with an L2 penalty."""
    if not weight_decay:
        return gradient
    module = array_module(param)
    result = module.multiply(param, weight_decay, out=module.empty_like(param))
    return module.add(result, gradient, out=result)
