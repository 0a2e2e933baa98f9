"""Going down: the picture itself is what is learned, by L-BFGS or Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from core import Parameter, optim
from style_transfer.objective import FloatPicture, Losses

Optimizer = Literal["lbfgs", "adam"]


class Evaluator(Protocol):
    """What is gone down: `objective.Objective`, or anything like it."""

    def evaluate(self, picture: FloatPicture) -> tuple[Losses, FloatPicture]:
        """The losses of a picture and the gradient of their weighted sum."""


Watch = Callable[[FloatPicture, Losses], bool]
"""Sees the picture after each iteration, and says whether to stop."""


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How to go down, and how far."""

    optimizer: Optimizer = "lbfgs"
    iterations: int = 300

    lr: float = 0.02
    """Adam's step; pictures are in 0..1."""

    history: int = 10
    """Pairs of steps and gradients that L-BFGS remembers, in float64 each."""


def descend(objective: Evaluator, start: FloatPicture, how: Descent, watch: Watch) -> None:
    """Go down from `start`; every iteration's picture and losses go to `watch`."""
    if how.iterations < 1:
        return
    way = {"lbfgs": lbfgs, "adam": adam}[how.optimizer]
    way(objective, start, how, watch)


def lbfgs(objective: Evaluator, start: FloatPicture, how: Descent, watch: Watch) -> None:
    """SciPy's L-BFGS (Liu and Nocedal 1989): float64 outside, the objective's float32 inside.

    The objective sees the picture clipped to 0..1; what is outside has no gradient but that of a
    spring, whose loss is k/2 |x - clip(x)|^2 with k the steepest slope at the start. (SciPy's own
    bounds give the same pictures in twice the time.) Where rounding leaves the line search without
    a step, it starts again with an empty memory.
    """
    from scipy.optimize import minimize

    picture = start
    losses: Losses | None = None
    spring = 0.0
    done = 0
    stopped = False

    def function(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal losses, picture, spring
        inside = flat.clip(0.0, 1.0)
        picture = inside.astype(np.float32).reshape(start.shape)
        losses, slope = objective.evaluate(picture)
        gradient = slope.astype(np.float64).ravel()
        spring = spring or float(np.abs(gradient).max())
        outside = np.subtract(flat, inside, out=inside)
        gradient[outside != 0] = 0.0
        gradient += spring * outside
        return losses.total + spring / 2 * float(outside @ outside), gradient

    def callback(intermediate_result: Any) -> None:
        nonlocal done, stopped
        done += 1
        # The line search ends where it evaluated last.
        assert losses is not None
        stopped = watch(picture, losses)
        if stopped or done >= how.iterations:
            raise StopIteration

    at = start.astype(np.float64).ravel()
    while done < how.iterations and not stopped:
        before = done
        options = {
            "maxiter": how.iterations - done,
            "maxfun": 10 * how.iterations,
            "maxcor": how.history,
            "ftol": 0.0,
            "gtol": 0.0,
        }
        at = minimize(
            function, at, jac=True, method="L-BFGS-B", callback=callback, options=options
        ).x
        if done <= before + 1:
            break


def adam(objective: Evaluator, start: FloatPicture, how: Descent, watch: Watch) -> None:
    """Adam (Kingma and Ba 2015) on the picture, which stays in 0..1."""
    picture = Parameter(np.array(start, np.float32))
    optimizer = optim.Adam([picture], lr=how.lr)
    for _ in range(how.iterations):
        seen = picture.numpy().copy()
        losses, gradient = objective.evaluate(seen)
        picture.grad = gradient
        optimizer.step()
        picture.copy_(picture.numpy().clip(0.0, 1.0))
        if watch(seen, losses):
            break
