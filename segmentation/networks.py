"""The networks by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from core import nn
from segmentation.fcn import FCN, FCNBasic
from segmentation.segnet import SegNet, SegNetBasic
from segmentation.unet import UNet

_NETWORKS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {
        "unet": UNet,
        "unet_squeezenet": partial(UNet, encoder="squeezenet1_0"),
        "unet_backbone": partial(UNet, encoder="backbone"),
        "segnet": SegNet,
        "segnet_basic": SegNetBasic,
        "fcn_basic": FCNBasic,
        **{
            f"fcn{stride}s_{encoder}": partial(FCN, encoder, stride=stride)
            for encoder in ("vgg16", "backbone")
            for stride in (32, 16, 8)
        },
    }
)
# The classifier whose trained weights fit the encoder.
_ENCODERS = {"squeezenet": "squeezenet1_0", "backbone": "backbone", "vgg16": "vgg16"}

NAMES = tuple(_NETWORKS)

# What the networks need but for deep U-Nets; see `least_side`.
LEAST_SIDE = 32

# What options may be: a file's header must not ask for more memory than a network takes.
_LIMITS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"width": (1, 256), "depth": (2, 8), "stride": (1, 4), "padding": (0, 512)}
)
# What a U-Net is given and does not use when a classifier encodes.
_IDLE = ("stride", "depth")
_MOST_HIDDEN = 4096  # width of the published FCN's head


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """A new network that gives pictures (N, 3, H, W) logits (N, num_classes, H, W).

    `options` go to its class. Raises ValueError for a name that is not among NAMES, for options
    that it does not have, and for numbers outside their range.
    """
    if name not in _NETWORKS:
        raise ValueError(f"model {name!r} is unknown; expected one of {', '.join(NAMES)}")
    for option, (least, most) in _LIMITS.items():
        if option == "width" and name.startswith(("fcn8s", "fcn16s", "fcn32s")):
            most = _MOST_HIDDEN
        value = options.get(option, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"model {name}: {option} is {value}, expected {least} to {most}")
    channels = options.get("channels") or ()
    if len(channels) > 8 or any(not isinstance(n, int) or not 1 <= n <= 1024 for n in channels):
        raise ValueError(f"model {name}: channels are no list of up to 8 numbers from 1 to 1024")
    try:
        return _NETWORKS[name](num_classes=num_classes, **options)
    except TypeError as error:
        raise ValueError(f"model {name} does not take the options {json.dumps(options)}") from error


def least_side(name: str, options: Mapping[str, Any]) -> int:
    """Pixels a side below which the deepest map of the network `name` would be empty."""
    if name != "unet":
        return LEAST_SIDE
    return max(LEAST_SIDE, options.get("stride", 1) * 2 ** (options.get("depth", 4) - 1))


def refuse_idle(name: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for options that the network `name` would take and ignore."""
    idle = [option for option in _IDLE if option in options]
    if idle and name.startswith("unet_"):
        flags = " ".join(f"--{option} None" for option in idle)
        raise ValueError(f"model {name} has no use for {' and '.join(idle)}; expected {flags}")


def encoder_of(name: str) -> str:
    """The classifier that the network's encoder is the convolutional part of.

    Raises ValueError for a network that has an encoder of its own.
    """
    encoder = _ENCODERS.get(name.rpartition("_")[2])
    if encoder is None:
        raise ValueError(f"there are no trained weights for the encoder of {name}")
    return encoder
