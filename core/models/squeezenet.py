"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters (Iandola et al. 2016)."""

from __future__ import annotations

from typing import Literal

from core import functional as F
from core import nn
from core.models.initialise import he_normal
from core.tensor import Tensor

Version = Literal["1_0", "1_1"]

# Channels of squeeze and of each expand, fire2 to fire9 (table 1).
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
# First filters, their size, and the fires that a pooling stands before. 1.1 is the authors' later
# form: 2.4 times fewer operations.
_VERSIONS: dict[Version, tuple[int, int, tuple[int, ...]]] = {
    "1_0": (96, 7, (0, 3, 7)),
    "1_1": (64, 3, (0, 2, 4)),
}


class Fire(nn.Module):
    """1x1 filters that squeeze, then 1x1 and 3x3 filters that expand, side by side (section 3.2).

    (N, in_channels, H, W) gives (N, 2 expand, H, W).
    """

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = nn.chain(x, self.squeeze, self.squeeze_activation)
        ones = nn.chain(x, self.expand1x1, self.expand1x1_activation)
        threes = nn.chain(x, self.expand3x3, self.expand3x3_activation)
        return F.cat([ones, threes], dim=1)


class SqueezeNet(nn.Sequential):
    """Fire modules between poolings, then a 1x1 convolution per class and the global mean.

    Input (N, in_channels, H, W) of at least 21 pixels (1.0) or 17 (1.1), 224 in the paper; result:
    logits (N, num_classes). With 1000 classes 1,248,424 parameters (1.0) or 1,235,496 (1.1).
    State-dict names and padding are torchvision's; the paper pads the last convolution by 1.
    Weights start as He et al. 2015 draw them, those of the last convolution with deviation
    0.01, biases at zero. Raises ValueError for another version.
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(
        self,
        version: Version = "1_0",
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        dropout: float = 0.5,
    ) -> None:
        if version not in _VERSIONS:
            raise ValueError(f"SqueezeNet: version {version!r}, expected '1_0' or '1_1'")
        last = nn.Conv2d(512, num_classes, 1)
        super().__init__(
            {
                "features": _features(version, in_channels),
                "classifier": nn.Sequential(
                    nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1)
                ),
                "flatten": nn.Flatten(),
            }
        )
        he_normal(self)
        nn.init.normal_(last.weight, std=0.01)


def _features(version: Version, in_channels: int) -> nn.Sequential:
    channels, kernel_size, pooled = _VERSIONS[version]
    features = nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size, stride=2), nn.ReLU())
    for number, (squeeze, expand) in enumerate(_FIRES):
        if number in pooled:
            features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        features.append(Fire(channels, squeeze, expand))
        channels = 2 * expand
    return features
