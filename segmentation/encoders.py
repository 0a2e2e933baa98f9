"""Encoders: the convolutional part of a classifier, seen at several strides."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import core
from core import Tensor, models, nn
from core.models.backbone import Backbone

# Where each network is tapped by a U-Net, from fine to coarse; VGG's names, or places in
# `features`.
_TAPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
        "backbone": ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2"),
        "squeezenet1_0": ("features.1", "features.5", "features.10", "features.12"),
    }
)


def classifier(name: str, **options: Any) -> nn.Module:
    """A network whose `features` encode: "backbone", or one that `models.build` knows.

    Its weights are not drawn: whoever takes the features does that, or loads them.
    """
    with nn.init.skip_draws():
        return Backbone(**options) if name == "backbone" else models.build(name, **options)


def load_features(model: nn.Module, trained: nn.Module) -> None:
    """Give the `features` of `model` the weights of those of a trained classifier."""
    arrays = trained.get_submodule("features").state_dict()
    model.get_submodule("features").load_state_dict(arrays)


class TappedEncoder(nn.Module):
    """The convolutional part of the classifier `name`, which gives its maps from fine to coarse.

    (N, 3, H, W) gives one map for each tap; `channels` are theirs.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in _TAPS:
            raise ValueError(f"encoder {name!r} is unknown; expected one of {', '.join(_TAPS)}")
        whole = classifier(name)
        self.features = whole.get_submodule("features")
        paths = places(whole, _TAPS[name])
        self._taps = models.features(self.features, paths)
        with core.no_grad():
            maps = self(core.tensor([[[[0.0] * 64] * 64] * 3]))
        self.channels = tuple(one.shape[1] for one in maps)

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self._taps(x).values())


def places(whole: nn.Module, names: tuple[str, ...]) -> list[str]:
    """Where layers of a classifier are in its `features`: "pool3" of a VGG is "16"."""
    aliases: Mapping[str, str] = getattr(whole, "layer_names", {})
    return [aliases.get(name, name).removeprefix("features.") for name in names]
