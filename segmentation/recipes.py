"""The recipes of the trainings, by name.

    python -m segmentation.train --recipe camvid-segnet-basic --data-root DATA

A test split is scored once, when a training is over; docs/results.md says which of the recipes were
settled, on the validation split, and what they reach. Any setting may be changed by its flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from core.recipes import Optimisation

Balance = Literal["none", "median-frequency"]


@dataclass(frozen=True, kw_only=True)
class Recipe(Optimisation):
    """Everything that a training depends on but its seed."""

    data: str = "scenes"
    """scenes or scenes-mnist (embedded), camvid, voc2007, voc2012, or a folder of your own."""

    model: str = "unet"
    """Network, one of segmentation.networks.NAMES."""

    width: int | None = None
    """Channels of the first layer (FCN: of its head); by default the network's own."""

    stride: int | None = None
    """Stride of a U-Net's first convolution: 2 works at half the resolution, four times as fast."""

    depth: int | None = None
    """Levels of a U-Net: its coarsest maps have 1 / 2 ** (depth - 1) of its finest ones' size."""

    at_once: bool = False
    """Train all strides of an FCN at once, its skips scaled; otherwise skips start at zero."""

    pretrained: bool = False
    """Start with the encoder's trained weights: shipped (backbone) or published (the others)."""

    batch_size: int = 8
    """Pictures in one step."""

    scale: float = 1.0
    """Size at which the network works, over the pictures'; its scores are enlarged again."""

    crop: tuple[int, int] | None = None
    """Height and width of the windows that it learns from; by default whole pictures."""

    balance: Balance = "none"
    """Let rare classes count more: median-frequency balancing of the loss."""

    flip: bool = False
    """Mirror every other training picture."""

    turn: float = 0.0
    """Turn training pictures by up to so many degrees."""

    zoom: tuple[float, float] | None = None
    """Range of factors by which training pictures are scaled."""

    jitter: float = 0.0
    """Change brightness, contrast and saturation by up to this share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale <= 1:
            raise ValueError(f"--scale is {self.scale}; expected more than 0, up to 1")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"--jitter is {self.jitter}; expected 0 to 1")
        if self.crop is not None and min(self.crop) < 32:
            raise ValueError(f"--crop is {self.crop}; expected at least 32 pixels each way")

    def network_options(self) -> dict[str, Any]:
        """What the recipe says of the network's own settings."""
        options = {
            "width": self.width,
            "stride": self.stride,
            "depth": self.depth,
            "at_once": self.at_once or None,
        }
        return {name: value for name, value in options.items() if value is not None}


_SCENES = Recipe(
    epochs=30,
    optimizer="adamw",
    lr=0.003,
    schedule="one-cycle",
    weight_decay=0.01,
    turn=10,
    zoom=(0.85, 1.2),
    jitter=0.3,
)
# 180x240 of pictures of 360x480, as SegNet's paper and its tutorial begin.
_CAMVID = Recipe(
    data="camvid",
    scale=0.5,
    epochs=100,
    optimizer="adamw",
    lr=0.002,
    schedule="one-cycle",
    weight_decay=0.01,
    flip=True,
    zoom=(0.8, 1.6),
    jitter=0.3,
)
# The papers' own optimiser for SegNet and FCN alike, so that they can be compared.
_BALANCED = replace(
    _CAMVID, optimizer="sgd", lr=0.1, weight_decay=0.0005, balance="median-frequency"
)
_STAGED = replace(_CAMVID, lr=0.0005, epochs=40, pretrained=True, model="fcn32s_backbone")

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "scenes-unet": replace(_SCENES, model="unet", width=16, stride=2, depth=5),
        "scenes-segnet": replace(_SCENES, model="segnet", width=16),
        "scenes-fcn8s": replace(_SCENES, model="fcn8s_backbone", pretrained=True, lr=0.001),
        "camvid-unet": replace(
            _CAMVID,
            model="unet",
            width=32,
            stride=2,
            depth=5,
            scale=1.0,
            crop=(288, 384),
            batch_size=4,
            epochs=80,
        ),
        "camvid-unet-squeezenet": replace(
            _CAMVID,
            model="unet_squeezenet",
            width=32,
            pretrained=True,
            lr=0.001,
            scale=1.0,
            crop=(288, 384),
            batch_size=4,
        ),
        "camvid-segnet-basic": replace(_BALANCED, model="segnet_basic"),
        "camvid-fcn-basic": replace(_BALANCED, model="fcn_basic"),
        "camvid-segnet": replace(_BALANCED, model="segnet", epochs=60),
        # Each stage starts where the one before it ended: --weights runs/.../network.safetensors.
        "camvid-fcn32s": _STAGED,
        "camvid-fcn16s": replace(_STAGED, model="fcn16s_backbone", lr=0.0001, epochs=20),
        "camvid-fcn8s": replace(_STAGED, model="fcn8s_backbone", lr=0.0001, epochs=20),
        "camvid-fcn8s-at-once": replace(_STAGED, model="fcn8s_backbone", at_once=True, epochs=80),
        "voc-fcn32s": replace(
            _STAGED,
            data="voc2012",
            model="fcn32s_vgg16",
            scale=1.0,
            crop=(320, 320),
            batch_size=4,
            lr=0.0001,
        ),
    }
)
