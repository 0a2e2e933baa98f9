"""The networks of the book, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from core import nn
from core.models.deep_convnet import DeepConvNet
from core.models.mlp import MLP
from core.models.simple_convnet import SimpleConvNet

__all__ = ["DeepConvNet", "MLP", "SimpleConvNet", "build", "NAMES"]


def _mlp(in_channels: int, image_size: int, num_classes: int) -> nn.Module:
    return MLP(in_channels * image_size**2, num_classes=num_classes)


_BUILDERS: Mapping[str, Callable[[int, int, int], nn.Module]] = MappingProxyType(
    {"simple_convnet": SimpleConvNet, "deep_convnet": DeepConvNet, "mlp": _mlp}
)

NAMES = tuple(_BUILDERS)


def build(
    name: str, *, in_channels: int = 1, image_size: int = 28, num_classes: int = 10
) -> nn.Module:
    """A new network for square pictures (N, in_channels, image_size, image_size).

    Raises ValueError for a name that is not among NAMES.
    """
    if name not in _BUILDERS:
        raise ValueError(f"model {name!r} is unknown; expected one of {', '.join(NAMES)}")
    return _BUILDERS[name](in_channels, image_size, num_classes)
