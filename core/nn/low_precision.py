"""Layers that compute with few bits: 8-bit integers after training, signs from the start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from core import device as dev
from core import functional as F
from core.device import Array
from core.functional.operands import tensor_of
from core.nn.conv import Conv2d
from core.nn.linear import Linear
from core.nn.module import Module
from core.tape import no_grad
from core.tensor import Tensor, record

M = TypeVar("M", bound=Module)

_LEVELS = 127  # of int8, the same on both sides of zero
_EXACT = 1 << 24  # float32 holds every integer up to here


def binarise(input: Any) -> Tensor:
    """+1 where x >= 0, else -1; the gradient passes straight through where |x| <= 1.

    Courbariaux et al. 2016, equations 1 and 4: not the derivative of a sign, which is zero.
    """
    x = tensor_of("binarise", input)
    a, module = x.data, dev.array_module(x.data)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (module.where(module.abs(a) <= 1, gy, gy.dtype.type(0)),)

    one = a.dtype.type(1)
    return record(module.where(a >= 0, one, -one), (x,), backward)


class BinaryLinear(Linear):
    """A linear layer whose weights are signs: y = x sign(W)^T + b (Courbariaux et al. 2016).

    The real weights collect the gradients. They start uniform in +-1; where one has left +-1 its
    gradient stops, for which the paper cuts it back to +-1.
    """

    def reset_parameters(self) -> None:
        """Draw the weights anew; the bias is zero."""
        self.weight.copy_(dev.random.host.uniform(-1, 1, self.weight.shape))
        if self.bias is not None:
            self.bias.copy_(np.zeros(self.bias.shape))

    def forward(self, input: Any) -> Tensor:
        return F.linear(input, binarise(self.weight), self.bias)


class Sign(Module):
    """`binarise` as a layer."""

    def forward(self, input: Any) -> Tensor:
        return binarise(input)


class Int8(Module):
    """A trained convolution or linear layer that multiplies 8-bit integers (Jacob et al. 2018).

    weight ~ w s_w with one scale for each output channel, input ~ x s_x with one scale for all:
    y = (x * w) s_x s_w + bias. `peak` is the largest input magnitude to represent; larger ones
    are cut. For inference only. Sums are integers below 2^24 and so exact in float32, in which
    they are computed (or in float64 where they may be larger): the result is what integer
    arithmetic gives, the time is not. The weights are kept as integers only. Raises ValueError for
    a peak that is not positive.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: Conv2d | Linear, peak: float) -> None:
        super().__init__()
        if not peak > 0:
            raise ValueError(f"Int8: the inputs' peak is {peak}, expected a number > 0")
        weight = layer.weight.numpy()
        peaks = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
        scale = np.where(peaks > 0, peaks / _LEVELS, 1).astype(np.float32)
        shape = (-1,) + (1,) * (weight.ndim - 1)
        self.peak = float(peak)
        self.register_buffer("weight", np.rint(weight / scale.reshape(shape)).astype(np.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.numpy().copy())
        self._geometry = (
            None
            if isinstance(layer, Linear)
            else (layer.stride, layer.padding, layer.dilation, layer.groups)
        )
        fan_in = math.prod(weight.shape[1:])
        self._dtype = np.float32 if fan_in * _LEVELS**2 < _EXACT else np.float64

    def forward(self, input: Any) -> Tensor:
        step = self.peak / _LEVELS
        x = tensor_of("Int8", input).data
        module = dev.array_module(x)
        whole = module.clip(module.rint(x / x.dtype.type(step)), -_LEVELS, _LEVELS)
        with no_grad():
            sums = self._product(whole.astype(self._dtype, copy=False))
        scale = (self.scale.data * np.float32(step)).reshape(-1, *(1,) * (sums.ndim - 2))
        y = sums.data * scale
        if self.bias is not None:
            y = y + self.bias.data.reshape(scale.shape)
        return Tensor(y.astype(x.dtype, copy=False))

    def _product(self, whole: Array) -> Tensor:
        weight = Tensor(self.weight.data.astype(self._dtype))
        if self._geometry is None:
            return F.linear(Tensor(whole), weight)
        return F.conv2d(Tensor(whole), weight, None, *self._geometry)


def packed_state(model: Module) -> dict[str, np.ndarray]:
    """The `state_dict` of a network as it is stored: eight signs of a `BinaryLinear` in a byte."""
    state = model.state_dict()
    for path, module in model.named_modules():
        if isinstance(module, BinaryLinear):
            name = f"{path}.weight" if path else "weight"
            state[name] = np.packbits(state[name] >= 0)
    return state


def quantise(model: M, run: Callable[[M], object]) -> M:
    """Replace every Conv2d and Linear inside `model` by its `Int8`, and return the model.

    `run(model)` runs it on some pictures first: the largest input of a layer is its peak. The
    model itself changes; copy it before to keep it. Raises ValueError when a layer is not reached.
    """
    peaks: dict[Module, float] = {}

    def watch(layer: Module, args: tuple[Any, ...], output: Any) -> None:
        peak = float(np.abs(dev.to_host(args[0].data)).max())
        peaks[layer] = max(peak, peaks.get(layer, 0.0))

    layers = [m for m in model.modules() if isinstance(m, Conv2d | Linear)]
    handles = [layer.register_forward_hook(watch) for layer in layers]
    try:
        with no_grad():
            run(model.eval())
    finally:
        for handle in handles:
            handle.remove()
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Conv2d | Linear):
                setattr(parent, name, Int8(child, peaks.get(child, 0.0)))
    return model
