"""An exponential moving average of a model's weights, and the batch statistics that go with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from core import device as dev
from core import nn
from core.device import Array
from core.kernels.layout import copy
from core.tape import no_grad
from core.tensor import Tensor


class MovingAverage:
    """Weights averaged over the steps of a training; often better than the last ones.

    After step t every parameter's average moves by 1 - d towards the parameter, where d is the
    smaller of `decay` and t / (t + 9), so that the start is soon forgotten. Buffers are not
    averaged. Running statistics of batch normalisation belong to the weights that they were
    taken with: give `batches`, which returns training batches, and they are taken anew wherever
    the average is applied. Polyak and Juditsky 1992. Raises ValueError for a decay outside (0, 1).
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float = 0.999,
        *,
        batches: Callable[[], Iterable[Any]] | None = None,
    ) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"MovingAverage: decay is {decay}, expected between 0 and 1")
        self.decay = decay
        self.steps = 0
        self._model = model
        self._batches = batches
        self._averages: dict[str, Array] = {
            name: copy(parameter.data) for name, parameter in model.named_parameters()
        }

    def update(self) -> None:
        """Take in the model's weights as they are after a step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        for name, parameter in self._model.named_parameters():
            average = self._averages[name]
            difference = parameter.data - average
            difference *= 1 - decay
            average += difference

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the model has the averaged weights; afterwards its own again."""
        own = {name: copy(p.data) for name, p in self._model.named_parameters()}
        buffers = {name: b.data.copy() for name, b in self._model.named_buffers()}
        self._write(self._averages)
        try:
            if self._batches is not None:
                update_bn(self._batches(), self._model)
            yield
        finally:
            self._write(own)
            for name, buffer in self._model.named_buffers():
                buffer.copy_(buffers[name])

    def _write(self, arrays: Mapping[str, Array]) -> None:
        for name, parameter in self._model.named_parameters():
            parameter.copy_(arrays[name])

    def state_dict(self) -> dict[str, Any]:
        """The averages and the number of steps, to go on from."""
        return {
            "steps": self.steps,
            "averages": {name: dev.to_host(a).copy() for name, a in self._averages.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`. Raises ValueError when it is of another model."""
        averages = state["averages"]
        shapes = {name: a.shape for name, a in averages.items()}
        if shapes != {name: a.shape for name, a in self._averages.items()}:
            raise ValueError("MovingAverage: the state's names and shapes are not the model's")
        self.steps = int(state["steps"])
        for name, average in self._averages.items():
            average[...] = dev.array_module(average).asarray(averages[name])


def update_bn(loader: Iterable[Any], model: nn.Module) -> None:
    """Take the running statistics of all batch normalisations anew, from the batches of `loader`.

    Each batch counts the same; of a tuple the first part is the input. Without batch
    normalisation nothing is computed. As PyTorch's `torch.optim.swa_utils.update_bn`.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return
    momenta, was_training = [layer.momentum for layer in layers], model.training
    device = next(model.parameters()).device
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    try:
        with no_grad():
            for batch in loader:
                inputs = batch[0] if isinstance(batch, tuple | list) else batch
                model(Tensor(dev.to_device(inputs, device)))
    finally:
        model.train(was_training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
