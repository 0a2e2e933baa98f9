"""Mixed precision: products in 16 bits, weights and losses in 32 (book, 8.3.4).

    scaler = GradScaler()                      # for float16; bfloat16 needs none
    with autocast("float16"):
        loss = F.cross_entropy(model(x), target)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()

Micikevicius et al. 2018. Parameters stay float32, the master weights: convolutions, products and
recurrent layers round a copy of them. Losses are computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from core import device as dev
from core import kernels
from core.kernels import layout
from core.tensor import Tensor, record

_chosen: ContextVar[np.dtype[Any] | None] = ContextVar("autocast", default=None)


@contextmanager
def autocast(dtype: str | None = "float16") -> Iterator[None]:
    """Compute products in "float16" or "bfloat16" inside the block; None changes nothing.

    Raises ValueError for another dtype, RuntimeError for "bfloat16" without ml_dtypes.
    """
    token = _chosen.set(None if dtype is None else _half(dtype))
    try:
        yield
    finally:
        _chosen.reset(token)


def autocast_dtype() -> np.dtype[Any] | None:
    """The dtype of the `autocast` around, if any."""
    return _chosen.get()


def _half(dtype: str) -> np.dtype[Any]:
    if dtype == "float16":
        return dev.float16
    if dtype == "bfloat16":
        return dev.bfloat16()
    raise ValueError(f"autocast: got {dtype!r}, expected 'float16' or 'bfloat16'")


def narrowed(*tensors: Tensor | None) -> tuple[Any, ...]:
    """float32 tensors in autocast's dtype; the same ones outside of it."""
    dtype = _chosen.get()
    if dtype is None:
        return tensors
    return tuple(t if t is None or t.dtype != dev.float32 else _cast(t, dtype) for t in tensors)


def widened(*tensors: Tensor) -> tuple[Any, ...]:
    """Tensors of autocast's dtype in float32; the same ones outside of it."""
    dtype = _chosen.get()
    if dtype is None:
        return tensors
    return tuple(_cast(t, dev.float32) if t.dtype == dtype else t for t in tensors)


def _cast(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    own = x.dtype

    def backward(gy: Any) -> tuple[Any, ...]:
        return (layout.cast(gy, own),)

    return record(layout.cast(x.data, dtype), (x,), backward, "cast")


class GradScaler:
    """Scales the loss so that small gradients are no zeros in float16 (`torch.amp.GradScaler`).

    The scale starts at `init_scale`. A step whose gradients overflowed is left out and multiplies
    it by `backoff_factor`; `growth_interval` steps in a row without one multiply it by
    `growth_factor`. Everything stays on the device, so that a step can be recorded. Adam counts
    the steps that were left out. Raises ValueError for factors that go the wrong way.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        if not growth_factor > 1 > backoff_factor > 0:
            raise ValueError(
                f"GradScaler: growth_factor {growth_factor} and backoff_factor {backoff_factor}, "
                "expected more than 1 and a number between 0 and 1"
            )
        self._factors = growth_factor, backoff_factor, growth_interval
        self._unscaled: Any = None
        # The scale, and the steps since it changed last.
        self._state = dev.to_device(np.array([init_scale, 0], np.float32), device)
        # What the optimiser reads: 1 / scale, and whether a gradient overflowed.
        self._scaling = dev.to_device(np.array([1 / init_scale, 0], np.float32), device)

    def get_scale(self) -> float:
        """The scale as it is now; waits for the device."""
        return float(dev.to_host(self._state)[0])

    def scale(self, loss: Tensor) -> Tensor:
        """`loss` times the scale."""
        return loss * Tensor(self._state[0])

    def unscale_(self, optimizer: Any) -> None:
        """Scale the gradients back now, to clip them before `step`.

        Until `update` no other optimiser may step: RuntimeError then.
        """
        self._unscaled = optimizer
        gradients = _gradients(optimizer)
        k = kernels.of(*gradients)
        k.find_overflow(gradients, self._scaling)
        k.scale_(gradients, self._scaling[0])
        self._scaling[0] = 1

    def step(self, optimizer: Any) -> None:
        """`optimizer.step()` with gradients that are scaled back, unless one overflowed.

        Of several optimisers, those that step after an overflow are left out too.
        """
        if self._unscaled not in (None, optimizer):
            raise RuntimeError("GradScaler: after unscale_ of one optimiser another cannot step")
        gradients = _gradients(optimizer)
        kernels.of(*gradients).find_overflow(gradients, self._scaling)
        optimizer.step(self._scaling)

    def update(self) -> None:
        """Adjust the scale after the step."""
        self._unscaled = None
        kernels.of(self._state).adjust_scale(self._state, self._scaling, *self._factors)

    def state_dict(self) -> dict[str, Any]:
        """The scale and its age."""
        scale, age = dev.to_host(self._state).tolist()
        return {"scale": scale, "age": age}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        module = dev.array_module(self._state)
        self._state[...] = module.asarray(np.array([state["scale"], state["age"]], np.float32))
        self._scaling[...] = module.asarray(np.array([1 / state["scale"], 0], np.float32))


def _gradients(optimizer: Any) -> list[dev.Array]:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return [p.grad.data for p in params if p.grad is not None]
