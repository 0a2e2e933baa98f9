"""One step of a training: forward, backward, the optimiser; on a GPU recorded as one CUDA graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from core import device as dev
from core import nn
from core.amp import GradScaler, autocast_dtype
from core.replay import graphed
from core.tensor import Tensor

Figures = dict[str, float]
# The model and a batch in; the loss, and figures of the batch to show beside it, out: numbers, or
# single values that still lie on the device.
Forward = Callable[[nn.Module, Any], tuple[Tensor, Mapping[str, Any]]]


class TrainingStep:
    """Called with a batch it trains the model on it, and returns the loss and the figures.

    On the CPU, and on a GPU without `graph`, a loss that is no number changes nothing. With `graph`
    batches of the first one's shapes run as one CUDA graph, and others as they come; `forward` must
    then do the same for every batch and read nothing back. In float16 (`core.amp.autocast`) the
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
    ) -> None:
        self._model, self._optimizer, self._forward = model, optimizer, forward
        self._clip_norm = clip_norm
        device = next(model.parameters()).device
        self._scaler = GradScaler(device) if autocast_dtype() == dev.float16 else None
        self._static = _Static(device) if graph and device == "cuda" else None
        self._graphed: Callable[[], Mapping[str, Any]] = lambda: {}

    def __call__(self, batch: Any) -> Figures:
        """See the class."""
        if self._static is not None and self._static.take(batch):
            if self._static.is_new:
                self._graphed = graphed(self._recorded)
            return numbers(self._graphed())
        loss, figures = self._forward(self._model, batch)
        shown = numbers({"loss": loss, **figures})
        if math.isfinite(shown["loss"]):
            self._update(loss)
        return shown

    def _recorded(self) -> Mapping[str, Any]:
        assert self._static is not None
        loss, figures = self._forward(self._model, self._static.batch)
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


class _Static:
    """The arrays on the GPU that a recorded step reads; a batch is written into them."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._pinned: tuple[np.ndarray, ...] = ()
        self.batch: tuple[Any, ...] = ()
        self.is_new = False

    def take(self, batch: Any) -> bool:
        """Copy `batch` to the GPU; False for one that is no tuple of arrays of the first shapes."""
        if not isinstance(batch, tuple) or not all(isinstance(a, np.ndarray) for a in batch):
            return False
        self.is_new = not self.batch
        if self.is_new:
            self._pinned = tuple(_pinned_like(a) for a in batch)
            self.batch = tuple(dev.to_device(np.ascontiguousarray(a), self._device) for a in batch)
        kinds = [(a.shape, a.dtype) for a in batch]
        if kinds != [(a.shape, a.dtype) for a in self._pinned]:
            return False
        for source, pinned, target in zip(batch, self._pinned, self.batch, strict=True):
            pinned[...] = source
            target.set(pinned)
        return True


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
