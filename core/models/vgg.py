"""VGG: nothing but 3x3 convolutions, deep (Simonyan and Zisserman 2015; book, 8.1.3)."""

from __future__ import annotations

from collections.abc import Sequence

from core import nn
from core.models.initialise import he_normal

# Convolutions of each stage (table 1, columns A, B, D, E) and their channels.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_CHANNELS = (64, 128, 256, 512, 512)
DEPTHS = tuple(_STAGES)


class VGG(nn.Sequential):
    """Five stages of 3x3 convolutions, each ended by a pooling, and three affine layers.

    Input (N, in_channels, H, W) of at least 32 pixels, 224 in the paper; result: logits (N,
    num_classes). With 1000 classes and no batch normalisation VGG-11 has 132,863,336
    parameters, -13 133,047,848, -16 138,357,544, -19 143,667,240. State-dict names are
    torchvision's; `layer_names` has the names that papers use (conv4_2, relu4_2, pool4, fc6).
    Weights start as He et al. 2015 draw them, biases at zero. Raises ValueError for another
    depth.
    """

    features: nn.Sequential
    classifier: nn.Sequential
    layer_names: dict[str, str]

    def __init__(
        self,
        depth: int = 16,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        channels: Sequence[int] = _CHANNELS,
        hidden: int = 4096,
    ) -> None:
        if depth not in _STAGES:
            raise ValueError(f"VGG: depth {depth}, expected one of {DEPTHS}")
        layers = _stages(_STAGES[depth], in_channels, channels, batch_norm)
        super().__init__(
            {
                "features": nn.Sequential(*layers.values()),
                "avgpool": nn.AdaptiveAvgPool2d(7),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(
                    nn.Linear(channels[-1] * 7**2, hidden),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(hidden, hidden),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(hidden, num_classes),
                ),
            }
        )
        self.layer_names = {name: f"features.{i}" for i, name in enumerate(layers)} | _AFFINE
        he_normal(self)


_AFFINE = {
    "fc6": "classifier.0",
    "relu6": "classifier.1",
    "fc7": "classifier.3",
    "relu7": "classifier.4",
    "fc8": "classifier.6",
}


def _stages(
    counts: Sequence[int], in_channels: int, channels: Sequence[int], batch_norm: bool
) -> dict[str, nn.Module]:
    """The layers of the convolutional part by the names that papers use, in order."""
    layers: dict[str, nn.Module] = {}
    before = in_channels
    for stage, (count, filters) in enumerate(zip(counts, channels, strict=True), start=1):
        for number in range(1, count + 1):
            layers[f"conv{stage}_{number}"] = nn.Conv2d(before, filters, 3, padding=1)
            if batch_norm:
                layers[f"bn{stage}_{number}"] = nn.BatchNorm2d(filters)
            layers[f"relu{stage}_{number}"] = nn.ReLU()
            before = filters
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    return layers
