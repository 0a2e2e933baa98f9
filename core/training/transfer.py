"""Start from trained weights (book, 8.2.3): a new head, frozen layers, rates by depth."""

from __future__ import annotations

from typing import Any

from core import nn
from core.tensor import Parameter


def head_of(model: nn.Module) -> str:
    """The dotted name of the layer that gives the logits: the last linear one or convolution.

    Raises ValueError for a model without one.
    """
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not names:
        raise ValueError(f"{type(model).__name__} has no linear layer and no convolution")
    return names[-1]


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Put a new layer for `num_classes` in place of `head_of(model)`; returns that layer.

    It is drawn anew, with weights of a hundredth of the usual size, so that a training begins near
    equal probabilities and its first gradients do not upset the layers below. A convolution's
    biases are 1: a softmax does not see that, but a ReLU may follow (SqueezeNet's does), behind
    which a class that begins below 0 would never learn.
    """
    parent, _, name = head_of(model).rpartition(".")
    owner = model.get_submodule(parent)
    old = getattr(owner, name)
    bias = old.bias is not None
    new: nn.Linear | nn.Conv2d
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias)
    else:
        new = nn.Conv2d(
            old.in_channels,
            num_classes,
            old.kernel_size,
            old.stride,
            old.padding,
            old.dilation,
            bias=bias,
        )
        if new.bias is not None:
            nn.init.ones_(new.bias)
    new.weight.copy_(new.weight.numpy() * 0.01)
    setattr(owner, name, new.to(old.weight.device))
    return new


def freeze_below(model: nn.Module, head: nn.Module) -> None:
    """Let only the parameters of `head` learn."""
    model.requires_grad_(False)
    head.requires_grad_(True)


def depth_groups(model: nn.Module, lr: float, decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: the last layer learns at `lr`, each one before it `decay` times so.

    Discriminative learning rates (Howard and Ruder 2018, section 3.2), by the layers in the order
    in which the model lists them; frozen parameters are left out. Raises ValueError for a decay
    outside (0, 1].
    """
    if not 0 < decay <= 1:
        raise ValueError(f"depth_groups: decay is {decay}, expected 0 < decay <= 1")
    layers = [_own(module) for module in model.modules()]
    layers = [parameters for parameters in layers if parameters]
    return [
        {"params": parameters, "lr": lr * decay ** (len(layers) - 1 - depth)}
        for depth, parameters in enumerate(layers)
    ]


def _own(module: nn.Module) -> list[Parameter]:
    return [p for p in module.parameters(recurse=False) if p.requires_grad]
