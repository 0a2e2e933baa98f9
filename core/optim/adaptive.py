"""Step sizes for each parameter: Adagrad, RMSprop, Adam, AdamW (book, 6.1.5 and 6.1.6)."""

from __future__ import annotations

import math

from core import device as dev
from core import kernels
from core.device import Array
from core.kernels.reference.optim import AdamStep
from core.optim.optimizer import (
    Group,
    Optimizer,
    Params,
    State,
    need,
    need_not_negative,
    next_step,
    zeros_like,
)


class Adagrad(Optimizer):
    """h += g^2; p -= lr * g / (sqrt(h) + eps) (Duchi et al. 2011; book, 6.1.5).

    `lr_decay` divides lr by 1 + steps * lr_decay; `weight_decay` * p is added to g; h starts
    at `initial_accumulator_value`.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        *,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        need_not_negative(
            "Adagrad", group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"
        )

    def _update(self, param: Array, gradient: Array, state: State, group: Group) -> None:
        step = next_step(state)
        if "sum" not in state:
            state["sum"] = zeros_like(param)
            state["sum"] += group["initial_accumulator_value"]
        gradient = self._decayed(param, gradient, group["weight_decay"])
        self._add_square(state["sum"], gradient, 1.0)
        below = self._temporary(param, "below")
        dev.array_module(param).sqrt(state["sum"], out=below)
        below += group["eps"]
        lr = group["lr"] / (1 + (step - 1) * group["lr_decay"])
        self._add_quotient(param, gradient, below, -lr)


class RMSprop(Optimizer):
    """h = alpha * h + (1 - alpha) * g^2; p -= lr * g / (sqrt(h) + eps) (Hinton 2012, lecture 6e).

    With `momentum` the quotients add up in v = momentum * v + g / (...), and p -= lr * v;
    `centered` takes the square of the gradients' mean off h (Graves 2013, eq. 40);
    `weight_decay` * p is added to g.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        need_not_negative("RMSprop", group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def _update(self, param: Array, gradient: Array, state: State, group: Group) -> None:
        gradient = self._decayed(param, gradient, group["weight_decay"])
        below = self._root(param, gradient, state, group)
        if not group["momentum"]:
            self._add_quotient(param, gradient, below, -group["lr"])
            return
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = zeros_like(param)
        velocity = state["momentum_buffer"]
        velocity *= group["momentum"]
        self._add_quotient(velocity, gradient, below, 1.0)
        self._add_scaled(param, velocity, -group["lr"])

    def _root(self, param: Array, gradient: Array, state: State, group: Group) -> Array:
        """sqrt(mean square, or variance when centered) + eps."""
        if "square_avg" not in state:
            state["square_avg"] = zeros_like(param)
        square = state["square_avg"]
        square *= group["alpha"]
        self._add_square(square, gradient, 1 - group["alpha"])
        below = self._temporary(param, "below")
        below[...] = square
        if group["centered"]:
            if "grad_avg" not in state:
                state["grad_avg"] = zeros_like(param)
            self._move_towards(state["grad_avg"], gradient, 1 - group["alpha"])
            self._add_square(below, state["grad_avg"], -1.0)
        dev.array_module(param).sqrt(below, out=below)
        below += group["eps"]
        return below


class Adam(Optimizer):
    """Moving averages m of g and v of g^2; p -= lr * m' / (sqrt(v') + eps) (Kingma and Ba 2015).

    m' and v' are corrected for their start at zero (algorithm 1); `weight_decay` * p is added
    to g. Book, 6.1.6.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": (betas[0], betas[1]),
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        name = type(self).__name__
        need_not_negative(name, group, "lr", "eps", "weight_decay")
        for beta in group["betas"]:
            need(0 <= beta < 1, name, "betas", group["betas"], "two numbers in [0, 1)")

    def _update(self, param: Array, gradient: Array, state: State, group: Group) -> None:
        self._adapt(param, gradient, state, group, weight_decay=group["weight_decay"])

    def _adapt(
        self,
        param: Array,
        gradient: Array,
        state: State,
        group: Group,
        weight_decay: float = 0.0,
        shrink: float = 1.0,
    ) -> None:
        step = next_step(state)
        if "exp_avg" not in state:
            state["exp_avg"] = zeros_like(param)
            state["exp_avg_sq"] = zeros_like(param)
        beta1, beta2 = group["betas"]
        rate, root = group["lr"] / (1 - beta1**step), math.sqrt(1 - beta2**step)
        numbers = AdamStep(rate, beta1, beta2, root, group["eps"], weight_decay, shrink)
        averages = state["exp_avg"], state["exp_avg_sq"]
        kernels.of(param, gradient).adam(param, gradient, *averages, numbers)


class AdamW(Adam):
    """Adam whose weight decay acts on the parameters, p -= lr * weight_decay * p, not on g.

    Loshchilov and Hutter 2019, algorithm 2.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _update(self, param: Array, gradient: Array, state: State, group: Group) -> None:
        shrink = 1 - group["lr"] * group["weight_decay"]
        self._adapt(param, gradient, state, group, shrink=shrink)
