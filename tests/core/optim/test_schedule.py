"""Schedules: the same learning rates as PyTorch's, and an exact resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import optim
from core.tensor import Parameter

Make = Callable[[Any, Any], Any]

SCHEDULES: dict[str, Make] = {
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 9]),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 7, eta_min=0.01),
    "linear": lambda s, o: s.LinearLR(o, start_factor=0.1, total_iters=4),
    "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.0, 10),
    "lambda": lambda s, o: s.LambdaLR(o, lambda step: 0.9**step),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda step: 1 / (1 + step), lambda step: step]),
    "one cycle": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=12),
    "one cycle, linear": lambda s, o: s.OneCycleLR(
        o, [1.0, 2.0], epochs=4, steps_per_epoch=3, pct_start=0.5, anneal_strategy="linear"
    ),
    "one cycle, early peak": lambda s, o: s.OneCycleLR(o, 1.0, 12, pct_start=0.0, div_factor=4.0),
    "warm-up, then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.25, total_iters=3), s.CosineAnnealingLR(o, 8)], [3]
    ),
    "three in a row": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o), s.StepLR(o, 2), s.MultiStepLR(o, [1, 3], 0.3)], [2, 7]
    ),
}


def optimizer(kind: str = "SGD") -> optim.Optimizer:
    a, b = (Parameter(np.ones(1, np.float32)) for _ in range(2))
    settings: dict[str, Any] = {"momentum": 0.9} if kind == "SGD" else {}
    make = getattr(optim, kind)
    return make([{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.5, **settings)


def figures(of: Any) -> list[float]:
    """What a schedule may change: learning rates, momenta and first betas."""
    groups = of.param_groups
    momenta = [g["momentum"] if "momentum" in g else g["betas"][0] for g in groups]
    return [g["lr"] for g in groups] + momenta


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, about the order of the two steps
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_agree_with_pytorch(name: str, kind: str) -> None:
    torch = pytest.importorskip("torch")
    settings: dict[str, Any] = {"momentum": 0.9} if kind == "SGD" else {}
    a, b = (torch.ones(1, requires_grad=True) for _ in range(2))
    theirs = getattr(torch.optim, kind)(
        [{"params": [a]}, {"params": [b], "lr": 0.2}], lr=0.5, **settings
    )
    ours = optimizer(kind)
    schedule = SCHEDULES[name](optim, ours)
    peer = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    for step in range(12):
        assert figures(ours) == pytest.approx(figures(theirs), rel=1e-9, abs=1e-12), step
        assert schedule.get_last_lr() == pytest.approx(peer.get_last_lr(), rel=1e-9, abs=1e-12)
        assert schedule.last_epoch == step
        theirs.step()
        schedule.step()
        peer.step()
    assert figures(ours) == pytest.approx(figures(theirs), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_schedule_continues_exactly(name: str) -> None:
    first, second = optimizer(), optimizer()
    schedule = SCHEDULES[name](optim, first)
    for _ in range(5):
        schedule.step()
    state = json.loads(json.dumps(schedule.state_dict()))
    resumed = SCHEDULES[name](optim, second)
    resumed.load_state_dict(state)
    for _ in range(5):
        assert figures(second) == figures(first)
        schedule.step()
        resumed.step()


def test_resuming_with_the_optimisers_state_starts_from_the_first_rate() -> None:
    first = optimizer()
    schedule = optim.StepLR(first, 2)
    for _ in range(4):
        schedule.step()
    second = optimizer()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed = optim.StepLR(second, 2)
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.get_last_lr() == schedule.get_last_lr() == pytest.approx([0.005, 0.002])


def test_one_cycle_ends() -> None:
    schedule = optim.OneCycleLR(optimizer(), 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ValueError, match="the schedule has 3 steps, no more"):
        schedule.step()


def test_one_cycle_may_leave_momentum_alone() -> None:
    own = optimizer()
    optim.OneCycleLR(own, 1.0, 10, cycle_momentum=False)
    assert own.param_groups[0]["momentum"] == 0.9
    adagrad = optim.Adagrad([Parameter(np.ones(1))])
    with pytest.raises(ValueError, match="Adagrad has no momentum"):
        optim.OneCycleLR(adagrad, 1.0, 10)


MISTAKES: list[tuple[Callable[[optim.Optimizer], Any], str]] = [
    (lambda o: optim.StepLR(o, 0), "step_size is 0, expected a positive int"),
    (lambda o: optim.CosineAnnealingLR(o, 0), "T_max is 0"),
    (lambda o: optim.LinearLR(o, start_factor=0.0), "start_factor 0.0"),
    (lambda o: optim.LambdaLR(o, [lambda step: 1.0]), "1 functions for 2 parameter groups"),
    (lambda o: optim.OneCycleLR(o, 1.0), "give total_steps, or epochs"),
    (lambda o: optim.OneCycleLR(o, [1.0], 5), "got 1 max_lr for 2 groups"),
    (lambda o: optim.OneCycleLR(o, 1.0, 5, pct_start=2), "pct_start is 2"),
    (lambda o: optim.OneCycleLR(o, 1.0, 5, anneal_strategy="exp"), "anneal_strategy 'exp'"),
    (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), "expected one fewer"),
    (
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), optim.StepLR(optimizer(), 1)], [3]),
        "another optimiser",
    ),
    (
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), optim.OneCycleLR(o, 1.0, 5)], [3]),
        "OneCycleLR cannot be one",
    ),
    (lambda o: optim.StepLR(o, 1).load_state_dict({"last_epoch": 1, "base_lrs": [1]}), "1 groups"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes_are_named(call: Callable[[optim.Optimizer], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(optimizer())
