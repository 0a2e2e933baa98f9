"""What a network is made of: shape, parameters, arithmetic, memory, receptive field by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from core import device as dev
from core import nn
from core.inspect.reach import Call, Reach, reaches
from core.inspect.spans import tensors_in
from core.inspect.table import table
from core.models.lenet import RadialBasis, SparseConv2d
from core.nn.recurrent import _Recurrent
from core.tensor import Tensor


@dataclass(frozen=True)
class Layer:
    """One call of one layer."""

    name: str
    kind: str
    """The name of its class."""

    output_shape: tuple[int, ...]
    parameters: int
    """Values of its own parameters; 0 where the same layer was called before."""

    flops: int
    """Two for each multiply-add."""

    activation_bytes: int
    """Of its result; 0 for a view of its input."""

    receptive_field: tuple[int, int] | None
    """Height and width, in pixels of the input, of what one pixel of the result depends on;
    None when the result is not (N, C, H, W) or does not come from such an input."""


@dataclass(frozen=True)
class Summary:
    """The layers of a network in the order of their calls, for an input of one shape.

    FLOPs count two for each multiply-add (one multiplication and one addition) of convolutions,
    linear and recurrent layers by the direct algorithm, and nothing else: papers that count
    multiply-adds give half of it. Of a convolution with a table only the connections count.
    """

    input_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    parameters: int
    """Of the whole network, in layers that were not called too."""

    trainable: int
    """Of these, those that are not frozen."""

    @property
    def flops(self) -> int:
        """Of all layers."""
        return sum(layer.flops for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Of all results; a training keeps about as much (fused layers keep one result of two)."""
        return sum(layer.activation_bytes for layer in self.layers)

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "MFLOP", "memory, KiB", "receptive field")
        rows = [
            (
                layer.name,
                layer.kind,
                "x".join(map(str, layer.output_shape)),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{1e-6 * layer.flops:,.3f}" if layer.flops else "",
                f"{layer.activation_bytes / 1024:,.1f}" if layer.activation_bytes else "",
                "x".join(map(str, layer.receptive_field)) if layer.receptive_field else "",
            )
            for layer in self.layers
        ]
        lines = table(head, rows, names=3)
        frozen = self.parameters - self.trainable
        lines += [
            "-" * len(lines[1]),
            f"input {'x'.join(map(str, self.input_shape))}",
            f"{self.parameters:,} parameters" + (f", {frozen:,} of them frozen" if frozen else ""),
            self._arithmetic(),
            f"{self.activation_bytes / 2**20:,.1f} MiB of results",
        ]
        return "\n".join(lines)

    def _arithmetic(self) -> str:
        scale, unit = (1e-9, "G") if self.flops >= 1e9 else (1e-6, "M")
        return (
            f"{scale * self.flops:,.3f} {unit}FLOP forward, two for each multiply-add "
            f"({0.5 * scale * self.flops:,.3f} {unit} multiply-adds)"
        )


def summary(model: nn.Module, shape: Sequence[int], dtype: Any = None) -> Summary:
    """The layers of `model` as an input of `shape`, batch first, runs through them.

    `print` shows the table. The model runs once, in inference mode, on zeros of `dtype` (that of
    its first parameter unless given), which takes the memory of a forward pass that is
    recorded. Receptive fields follow the windows of convolutions and poolings
    that are layers (Araujo et al. 2019, "Computing receptive fields of convolutional neural
    networks"; book, 8.1.3: two 3x3 see what one 5x5 sees). Raises ValueError for a shape that is
    not made of positive integers.
    """
    sizes = tuple(shape)
    if not sizes or any(not isinstance(n, int) or n < 1 for n in sizes):
        raise ValueError(f"summary: shape {sizes}, expected positive integers, the batch first")
    calls = _run(model, sizes, dtype)
    reach = reaches(calls) if len(sizes) == 4 else {}
    seen: set[nn.Module] = set()
    layers = []
    for call in calls:
        layers.append(_layer(call, reach, first=call.module not in seen))
        seen.add(call.module)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Summary(sizes, tuple(layers), model.num_parameters(), trainable)


def _run(model: nn.Module, shape: tuple[int, ...], dtype: Any) -> list[Call]:
    """One forward pass; hooks see every layer by itself, for they switch fused steps off."""
    first = next(model.parameters(), None)
    standard = dev.get_default_dtype() if first is None else first.dtype
    array = np.zeros(shape, standard if dtype is None else dtype)
    moved = array if first is None else dev.to_device(array, first.device)
    x = Tensor(moved, requires_grad=array.dtype.kind == "f")
    calls: list[Call] = []
    training = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if not any(module.children()) or any(module.parameters(recurse=False)):
                stack.enter_context(module.register_forward_hook(_noting(calls, name)))
        try:
            model.eval()(x)
        finally:
            for module, mode in training.items():
                module.training = mode
    return calls


def _noting(calls: list[Call], name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        given, made = next(tensors_in(inputs), None), next(tensors_in(output), None)
        if given is not None and made is not None:
            calls.append(Call(name, module, given, made))

    return hook


def _layer(call: Call, reach: dict[Tensor, Reach], first: bool) -> Layer:
    own = sum(p.numel() for p in call.module.parameters(recurse=False)) if first else 0
    shared = np.may_share_memory(call.input.numpy(), call.output.numpy())
    seen = reach.get(call.output)
    return Layer(
        call.name,
        type(call.module).__name__,
        call.output.shape,
        own,
        2 * multiply_adds(call.module, call.input.shape, call.output.shape),
        0 if shared else call.output.data.nbytes,
        seen.field if seen is not None and call.output.ndim == 4 else None,
    )


def multiply_adds(
    module: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> int:
    """The multiply-adds of one call by the direct algorithm; 0 for layers without weights."""
    if isinstance(module, nn.ConvTranspose2d):
        # Each input value is multiplied with a kernel for each output channel of its group.
        return math.prod(input_shape) * math.prod(module.weight.shape[1:])
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return math.prod(output_shape) * math.prod(module.weight.shape[1:])
    if isinstance(module, SparseConv2d):
        # Its other kernels are zeros here, and missing in the paper.
        return math.prod(output_shape) // output_shape[1] * module.weight.numel()
    if isinstance(module, nn.Linear):
        return math.prod(output_shape) * module.in_features
    if isinstance(module, RadialBasis):
        return math.prod(output_shape) * module.codes.shape[1]
    if isinstance(module, _Recurrent):
        steps = math.prod(input_shape[:-1])
        weights = (p for p in module.parameters(recurse=False) if p.ndim == 2)
        return steps * sum(weight.numel() for weight in weights)
    return 0
