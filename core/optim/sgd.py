"""Stochastic gradient descent, with momentum (book, 6.1.2 and 6.1.4)."""

from __future__ import annotations

from collections.abc import Iterator

from core.kernels.reference.optim import SGDStep
from core.optim.optimizer import (
    Group,
    Optimizer,
    Params,
    State,
    need,
    need_not_negative,
)


class SGD(Optimizer):
    """v = momentum * v + (1 - dampening) * g; p -= lr * v.

    With `nesterov`, p -= lr * (g + momentum * v). v starts as the first gradient;
    `weight_decay` * p is added to g. Polyak 1964; Sutskever et al. 2013 for Nesterov's form.
    """

    rule = "sgd"

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def _check(self, group: Group) -> None:
        need_not_negative("SGD", group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError("SGD: nesterov needs a momentum above zero and no dampening")
        need(group["dampening"] <= 1, "SGD", "dampening", group["dampening"], "at most 1")

    def _numbers(self, state: State, group: Group) -> SGDStep:
        momentum, share = group["momentum"], 1 - group["dampening"]
        if "momentum_buffer" not in state:
            share = 1.0  # the velocity starts as the gradient
        return SGDStep(group["lr"], momentum, share, group["nesterov"], group["weight_decay"])

    def _averages(self, group: Group) -> Iterator[tuple[str, bool, float]]:
        yield "momentum_buffer", bool(group["momentum"]), 0.0
