"""The networks of the book, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import Any

from core import nn
from core.models import cifar_resnet, resnet, vgg
from core.models.alexnet import AlexNet, PublishedAlexNet
from core.models.cifar_resnet import CifarResNet
from core.models.deep_convnet import DeepConvNet
from core.models.googlenet import GoogLeNet
from core.models.lenet import LeNet5, ModernLeNet5
from core.models.mlp import MLP
from core.models.perceptron import GATES, Perceptron, gate
from core.models.published import Pretrained, load_pretrained, pretrained, pretrained_names
from core.models.resnet import ResNet
from core.models.simple_convnet import SimpleConvNet
from core.models.small_resnet import SmallResNet
from core.models.squeezenet import SqueezeNet
from core.models.taps import Features, features
from core.models.vgg import VGG

__all__ = [
    "AlexNet",
    "CifarResNet",
    "DeepConvNet",
    "Features",
    "GoogLeNet",
    "LeNet5",
    "MLP",
    "ModernLeNet5",
    "Perceptron",
    "Pretrained",
    "PublishedAlexNet",
    "ResNet",
    "SimpleConvNet",
    "SmallResNet",
    "SqueezeNet",
    "VGG",
    "build",
    "features",
    "gate",
    "input_shape",
    "is_sized",
    "load_pretrained",
    "GATES",
    "NAMES",
    "pretrained",
    "pretrained_names",
    "settings",
]


@dataclass(frozen=True)
class _Entry:
    """How a network is made, and for which pictures unless others are asked for."""

    make: Callable[..., nn.Module]
    in_channels: int
    image_size: int
    num_classes: int
    sized: bool = False
    """Whether its parameters depend on the size of the pictures."""

    options_of: Callable[..., nn.Module] | None = None
    """What takes the options, where `make` passes them on."""


def _mlp(in_channels: int, image_size: int, num_classes: int, **options: Any) -> nn.Module:
    return MLP(in_channels * image_size**2, num_classes=num_classes, **options)


# Chapters 4 and 5, and the six layers of chapter 6's experiments.
_two_layer_net = partial(_mlp, hidden=(50,), weight_std=0.01)
_deep_mlp = partial(_mlp, hidden=(100,) * 5, activation="relu")


def _digits(make: Callable[..., nn.Module], of: Callable[..., nn.Module] | None = None) -> _Entry:
    return _Entry(make, 1, 28, 10, sized=True, options_of=of)


def _cifar(make: Callable[..., nn.Module]) -> _Entry:
    return _Entry(make, 3, 32, 10)


def _imagenet(make: Callable[..., nn.Module], image_size: int = 224) -> _Entry:
    return _Entry(make, 3, image_size, 1000)


_ENTRIES: Mapping[str, _Entry] = MappingProxyType(
    {
        "two_layer_net": _digits(_two_layer_net, MLP),
        "mlp": _digits(_mlp, MLP),
        "deep_mlp": _digits(_deep_mlp, MLP),
        "simple_convnet": _digits(SimpleConvNet),
        "deep_convnet": _digits(DeepConvNet),
        "small_resnet": _Entry(SmallResNet, 1, 28, 10),
        "lenet5": _digits(LeNet5),
        "lenet5_modern": _digits(ModernLeNet5),
        "alexnet": _imagenet(AlexNet),
        "alexnet_published": _imagenet(PublishedAlexNet, 227),
        **{f"vgg{d}": _imagenet(partial(VGG, d)) for d in vgg.DEPTHS},
        **{f"vgg{d}_bn": _imagenet(partial(VGG, d, batch_norm=True)) for d in vgg.DEPTHS},
        "googlenet": _imagenet(GoogLeNet),
        "googlenet_published": _imagenet(partial(GoogLeNet, published=True)),
        "squeezenet1_0": _imagenet(partial(SqueezeNet, "1_0")),
        "squeezenet1_1": _imagenet(partial(SqueezeNet, "1_1")),
        **{f"resnet{d}": _imagenet(partial(ResNet, d)) for d in resnet.DEPTHS},
        **{f"cifar_resnet{d}": _cifar(partial(CifarResNet, d)) for d in cifar_resnet.DEPTHS},
    }
)

NAMES = tuple(_ENTRIES)


def build(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
    **options: Any,
) -> nn.Module:
    """A new network for pictures (N, in_channels, H, W) that gives logits (N, num_classes).

    What is left out is as published: digits of 28 pixels and 10 classes for the book's small
    networks, CIFAR-10 for its ResNets, ImageNet for the others. `image_size` counts for networks
    whose affine layers depend on it; the others take any size they were not made too deep for.
    `options`, those in `settings`, go to the class. `nn.init.skip_draws()` saves the time of
    drawing weights that are loaded anyway. Raises ValueError for a name that is not among NAMES,
    and for an option that the network does not have.
    """
    entry = _entry(name)
    strange = [option for option in options if option not in settings(name)]
    if strange:
        known = ", ".join(settings(name)) or "nothing"
        raise ValueError(f"build: {name} has no {strange[0]} to set; it has {known}")
    given: dict[str, Any] = {
        "in_channels": entry.in_channels if in_channels is None else in_channels,
        "num_classes": entry.num_classes if num_classes is None else num_classes,
    }
    if entry.sized:
        given["image_size"] = entry.image_size if image_size is None else image_size
    return entry.make(**given, **options)


def settings(name: str) -> tuple[str, ...]:
    """What `build` can be told of a network besides its pictures and classes, such as "width"."""
    entry = _entry(name)
    taken = signature(entry.options_of or entry.make).parameters
    return tuple(option for option in taken if option not in _OF_DATA)


_OF_DATA = ("in_channels", "in_features", "image_size", "num_classes")


def input_shape(name: str) -> tuple[int, int, int]:
    """(channels, height, width) of the pictures that a network is published for."""
    entry = _entry(name)
    return entry.in_channels, entry.image_size, entry.image_size


def is_sized(name: str) -> bool:
    """Whether a network takes pictures of one size only, the one that it was built for.

    The shipped backbone, which `build` does not know, takes any.
    """
    return name in _ENTRIES and _ENTRIES[name].sized


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise ValueError(f"model {name!r} is unknown; expected one of {', '.join(NAMES)}")
    return _ENTRIES[name]
