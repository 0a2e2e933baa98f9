"""One step of a training: forward, backward, the optimiser; on a GPU recorded as one CUDA graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from core import device as dev
from core import nn
from core.amp import GradScaler, autocast_dtype
from core.device import Array
from core.replay import graphed
from core.tensor import Tensor

R = TypeVar("R")
Figures = dict[str, float]
# The model and a batch in; the loss, and figures of the batch to show beside it, out: numbers, or
# single values that still lie on the device.
Forward = Callable[[nn.Module, Any], tuple[Tensor, Mapping[str, Any]]]


class TrainingStep:
    """Called with a batch it trains the model on it, and returns the loss and the figures.

    On the CPU, and on a GPU without `graph`, a loss that is no number changes nothing. With `graph`
    a batch runs as one CUDA graph; `forward` must then do the same for every batch and read nothing
    back, and a loss that is no number has changed the weights. With a `scaler` (`scaler_of`) the
    loss is scaled.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        forward: Forward,
        *,
        clip_norm: float | None = None,
        graph: bool = False,
        scaler: GradScaler | None = None,
    ) -> None:
        self._model, self._optimizer, self._forward = model, optimizer, forward
        self._clip_norm, self._scaler = clip_norm, scaler
        device = next(model.parameters()).device
        self._recorded = Recorded(self._all, device) if graph and device == "cuda" else None

    def __call__(self, batch: Any) -> Figures:
        """See the class."""
        if self._recorded is not None and self._recorded.fits(batch):
            return numbers(self._recorded(*batch))
        loss, figures = self._forward(self._model, batch)
        shown = numbers({"loss": loss, **figures})
        if math.isfinite(shown["loss"]):
            self._update(loss)
        return shown

    def _all(self, *batch: Array) -> Mapping[str, Any]:
        loss, figures = self._forward(self._model, batch)
        self._update(loss)
        return {"loss": loss.detach(), **figures}

    def _update(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        if self._scaler is None:
            loss.backward()
        else:
            self._scaler.scale(loss).backward()
        if self._clip_norm is not None:
            if self._scaler is not None:
                self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        if self._scaler is None:
            self._optimizer.step()
        else:
            self._scaler.step(self._optimizer)
            self._scaler.update()


def scaler_of(model: nn.Module) -> GradScaler | None:
    """What the training of `model` scales its loss with; None but in float16 (`autocast`)."""
    device = next(model.parameters()).device
    return GradScaler(device) if autocast_dtype() == dev.float16 else None


class Recorded(Generic[R]):
    """`function` of arrays, called with arrays of the host; on a GPU recorded as CUDA graphs.

    There is a recording for each set of shapes, of which a training has two: those of its last,
    smaller batch. It reads arrays of the GPU which each call's are copied into, through memory that
    the GPU fetches from by itself. On the "cpu" the function is simply called.
    """

    def __init__(self, function: Callable[..., R], device: str) -> None:
        self._function, self._device = function, device
        self._recordings: dict[Any, _Recording[R]] = {}

    def fits(self, batch: Any) -> bool:
        """Whether `batch` is a tuple of arrays, and of shapes that are recorded or may be."""
        if not isinstance(batch, tuple) or not all(isinstance(a, np.ndarray) for a in batch):
            return False
        return len(self._recordings) < _RECORDINGS or _kind(batch) in self._recordings

    def __call__(self, *batch: np.ndarray) -> R:
        """The function's result, to be read before the next call, which overwrites it.

        Raises ValueError for a batch that does not fit.
        """
        if self._device == "cpu":
            return self._function(*batch)
        if not self.fits(batch):
            raise ValueError("Recorded: a batch has other shapes or dtypes than those before")
        kind = _kind(batch)
        if kind not in self._recordings:
            self._recordings[kind] = _Recording(self._function, batch)
        return self._recordings[kind](batch)


_RECORDINGS = 2


def _kind(batch: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    return tuple((a.shape, a.dtype) for a in batch)


class _Recording(Generic[R]):
    """A function as one CUDA graph, and the arrays that it reads."""

    def __init__(self, function: Callable[..., R], batch: tuple[np.ndarray, ...]) -> None:
        self._pinned = tuple(_pinned_like(a) for a in batch)
        self._arrays = tuple(dev.to_device(np.ascontiguousarray(a), "cuda") for a in batch)
        self._graphed = graphed(lambda: function(*self._arrays))

    def __call__(self, batch: tuple[np.ndarray, ...]) -> R:
        for source, pinned, target in zip(batch, self._pinned, self._arrays, strict=True):
            pinned[...] = source
            target.set(pinned)
        return self._graphed()


def _pinned_like(array: np.ndarray) -> np.ndarray:
    """An array of the host that the GPU can copy from by itself."""
    memory = dev.cuda_module().cuda.alloc_pinned_memory(max(1, array.nbytes))
    return np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)


def numbers(values: Mapping[str, Any]) -> Figures:
    """Figures as Python numbers; those on a device are read together."""
    arrays = {name: v.data if isinstance(v, Tensor) else v for name, v in values.items()}
    module = dev.array_module(*(a for a in arrays.values() if dev.is_array(a)))
    if module is np:
        return {name: float(value) for name, value in arrays.items()}
    parts = [module.asarray(v, dev.float32).reshape(()) for v in arrays.values()]
    return dict(zip(arrays, dev.to_host(module.stack(parts)).tolist(), strict=True))
