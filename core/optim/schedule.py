"""Learning rates that change from step to step (`torch.optim.lr_scheduler`'s names and values).

Every schedule is a function of the number of steps so far and of the first learning rate; that
is why its state is that number, and a resumed run gets the same rates.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from core.optim.optimizer import Group, Optimizer


class LRScheduler:
    """Sets `lr` of every parameter group: at once, and at each `step()`.

    The first learning rate is what the groups had when the first schedule was made
    (`group["initial_lr"]`). A subclass defines `rate`.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._set_rates()

    def rate(self, step: int, base: float, group: int) -> float:
        """The learning rate after `step` steps of the group with this number and first rate."""
        raise NotImplementedError

    def rates(self, step: int) -> list[float]:
        """The learning rate of each group after `step` steps."""
        return [self.rate(step, base, i) for i, base in enumerate(self.base_lrs)]

    def step(self) -> None:
        """Go on by one step (an epoch or an iteration, as the caller counts)."""
        self.last_epoch += 1
        self._set_rates()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set_rates(self) -> None:
        rates = self.rates(self.last_epoch)
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """The steps so far and the first learning rates, plain JSON; the settings are not in it."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was taken, and set the learning rates of that step.

        Raises ValueError when the optimiser has another number of groups.
        """
        base_lrs = [float(lr) for lr in state_dict["base_lrs"]]
        if len(base_lrs) != len(self.base_lrs):
            raise ValueError(
                f"{type(self).__name__}: the state is of {len(base_lrs)} groups, "
                f"expected {len(self.base_lrs)}"
            )
        self.base_lrs = base_lrs
        self.last_epoch = int(state_dict["last_epoch"])
        self._set_rates()


class LambdaLR(LRScheduler):
    """The first rate times `lr_lambda(step)`; one function, or one for each group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"LambdaLR: got {len(self.lr_lambdas)} functions for {groups} parameter groups"
            )
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        return base * self.lr_lambdas[group](step)


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _need_positive("StepLR", "step_size", step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each of `milestones` (one given twice counts twice)."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        return base * self.gamma ** bisect.bisect_right(self.milestones, step)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first rate down to `eta_min` in `T_max` steps.

    Loshchilov and Hutter 2017, eq. 5, without restarts; after `T_max` the cosine goes on.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        _need_positive("CosineAnnealingLR", "T_max", T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        return _cosine(base, self.eta_min, step / self.T_max)


class LinearLR(LRScheduler):
    """The first rate times a factor that goes from `start_factor` to `end_factor` (warm-up).

    It stays at `end_factor` after `total_iters` steps. Goyal et al. 2017, 2.2.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                f"LinearLR: start_factor {start_factor} and end_factor {end_factor}, "
                "expected numbers in (0, 1] and [0, 1]"
            )
        _need_positive("LinearLR", "total_iters", total_iters)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        part = min(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down again over `total_steps`, momentum the other way round.

    The rate starts at max_lr / div_factor, peaks after the part `pct_start`, and ends at that
    start / final_div_factor; `anneal_strategy` is "cos" or "linear". `total_steps` may be given
    as `epochs` * `steps_per_epoch`. With `cycle_momentum` the momentum (or Adam's first beta)
    falls from `max_momentum` to `base_momentum` and comes back; the optimiser must have one.
    A step beyond the last raises ValueError. Smith and Topin 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start is {pct_start}, expected a number in [0, 1]")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy {anneal_strategy!r}, expected 'cos' or 'linear'"
            )
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(
                f"OneCycleLR: {type(optimizer).__name__} has no momentum; give cycle_momentum=False"
            )
        groups = len(optimizer.param_groups)
        self.max_lrs = [max_lr] * groups if isinstance(max_lr, int | float) else list(max_lr)
        if len(self.max_lrs) != groups:
            raise ValueError(f"OneCycleLR: got {len(self.max_lrs)} max_lr for {groups} groups")
        self.peak = pct_start * self.total_steps - 1
        self.anneal = _cosine if anneal_strategy == "cos" else _line
        self.cycle_momentum = cycle_momentum
        self.base_momentum = base_momentum
        self.max_momentum = max_momentum
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        for group, peak in zip(optimizer.param_groups, self.max_lrs, strict=True):
            group["initial_lr"] = peak / div_factor
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        return self._cycle(step, base, self.max_lrs[group], base / self.final_div_factor)

    def step(self) -> None:
        if self.last_epoch >= self.total_steps:
            raise ValueError(f"OneCycleLR: the schedule has {self.total_steps} steps, no more")
        super().step()

    def _cycle(self, step: int, start: float, middle: float, end: float) -> float:
        if step <= self.peak:
            return self.anneal(start, middle, step / self.peak if self.peak else 1.0)
        down = self.total_steps - 1 - self.peak
        return self.anneal(middle, end, (step - self.peak) / down)

    def _set_rates(self) -> None:
        super()._set_rates()
        if self.cycle_momentum:
            value = self._cycle(
                self.last_epoch, self.max_momentum, self.base_momentum, self.max_momentum
            )
            for group in self.optimizer.param_groups:
                _set_momentum(group, value)


class SequentialLR(LRScheduler):
    """One schedule after another: number i + 1 starts anew at step `milestones[i]`.

    The schedules belong to the same optimiser. Raises ValueError when there is not one milestone
    fewer than schedules, for milestones that do not rise, and for `OneCycleLR`, which sets more
    than the learning rate.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
    ) -> None:
        if len(milestones) != len(schedulers) - 1 or list(milestones) != sorted(set(milestones)):
            raise ValueError(
                f"SequentialLR: got milestones {list(milestones)} for {len(schedulers)} schedules, "
                "expected one fewer, rising"
            )
        if any(each.optimizer is not optimizer for each in schedulers):
            raise ValueError("SequentialLR: a schedule belongs to another optimiser")
        if any(isinstance(each, OneCycleLR) for each in schedulers):
            raise ValueError("SequentialLR: OneCycleLR cannot be one of the schedules")
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        super().__init__(optimizer)

    def rate(self, step: int, base: float, group: int) -> float:
        number = bisect.bisect_right(self.milestones, step)
        start = self.milestones[number - 1] if number else 0
        return self.schedulers[number].rate(step - start, base, group)


def _cosine(start: float, end: float, part: float) -> float:
    """From `start` to `end` along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _line(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


def _total_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        total_steps = epochs * steps_per_epoch
    _need_positive("OneCycleLR", "total_steps", total_steps)
    return total_steps


def _set_momentum(group: Group, value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _need_positive(name: str, setting: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: {setting} is {value!r}, expected a positive int")
