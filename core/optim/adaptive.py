"""Step sizes for each parameter: Adagrad, RMSprop, Adam, AdamW (book, 6.1.5 and 6.1.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from core.kernels.reference.optim import AdagradStep, AdamStep, RMSpropStep
from core.optim.optimizer import (
    Group,
    Optimizer,
    Params,
    State,
    need,
    need_not_negative,
    next_step,
)


class Adagrad(Optimizer):
    """h += g^2; p -= lr * g / (sqrt(h) + eps) (Duchi et al. 2011; book, 6.1.5).

    `lr_decay` divides lr by 1 + steps * lr_decay; `weight_decay` * p is added to g; h starts
    at `initial_accumulator_value`.
    """

    rule = "adagrad"

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

    def _numbers(self, state: State, group: Group) -> AdagradStep:
        rate = group["lr"] / (1 + (next_step(state) - 1) * group["lr_decay"])
        return AdagradStep(rate, group["eps"], group["weight_decay"])

    def _averages(self, group: Group) -> Iterator[tuple[str, bool, float]]:
        yield "sum", True, group["initial_accumulator_value"]


class RMSprop(Optimizer):
    """h = alpha * h + (1 - alpha) * g^2; p -= lr * g / (sqrt(h) + eps) (Hinton 2012, lecture 6e).

    With `momentum` the quotients add up in v = momentum * v + g / (...), and p -= lr * v;
    `centered` takes the square of the gradients' mean off h (Graves 2013, eq. 40);
    `weight_decay` * p is added to g.
    """

    rule = "rmsprop"

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

    def _numbers(self, state: State, group: Group) -> RMSpropStep:
        return RMSpropStep(
            group["lr"], group["alpha"], group["eps"], group["weight_decay"], group["momentum"]
        )

    def _averages(self, group: Group) -> Iterator[tuple[str, bool, float]]:
        yield "square_avg", True, 0.0
        yield "grad_avg", group["centered"], 0.0
        yield "momentum_buffer", bool(group["momentum"]), 0.0


class Adam(Optimizer):
    """Moving averages m of g and v of g^2; p -= lr * m' / (sqrt(v') + eps) (Kingma and Ba 2015).

    m' and v' are corrected for their start at zero (algorithm 1); `weight_decay` * p is added
    to g. Book, 6.1.6.
    """

    rule = "adam"

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

    def _numbers(self, state: State, group: Group) -> AdamStep:
        step, (beta1, beta2) = next_step(state), group["betas"]
        decay, shrink = self._decays(group)
        rate, root = group["lr"] / (1 - beta1**step), math.sqrt(1 - beta2**step)
        return AdamStep(rate, beta1, beta2, root, group["eps"], decay, shrink)

    def _decays(self, group: Group) -> tuple[float, float]:
        """The parameter's share in its gradient, and its factor before the step."""
        return group["weight_decay"], 1.0

    def _averages(self, group: Group) -> Iterator[tuple[str, bool, float]]:
        yield "exp_avg", True, 0.0
        yield "exp_avg_sq", True, 0.0


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

    def _decays(self, group: Group) -> tuple[float, float]:
        return 0.0, 1 - group["lr"] * group["weight_decay"]
