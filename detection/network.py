"""The network of R-CNN: a small CNN over warped crops, in the core's own layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import core
from core import Tensor, nn

# Crops are shifted and scaled to about [-2, 2].
MIDDLE, SPREAD = 128.0, 64.0


class RegionNet(nn.Module):
    """Features of crops (n, 3, size, size), and scores of `classes` and background.

    `pooled` gives (n, pooled_size), the last feature map, from which boxes are regressed (pool5
    in Girshick et al. 2014); `features` (n, width), which the SVMs take (fc7); `forward` the
    logits (n, classes + 1), background last. Four convolutions with batch normalisation stand
    where the paper has AlexNet, since it is trained on regions from the start.
    """

    def __init__(self, classes: int, size: int = 48, width: int = 256) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.pooled_size = pooled_size(size)
        self.body = nn.Sequential(
            nn.Conv2d(3, 24, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(48, 96, 3, padding=1, bias=False),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1, bias=False),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.fc = nn.Sequential(nn.Linear(self.pooled_size, width), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(width, classes + 1)

    def pooled(self, x: Tensor) -> Tensor:
        """The last feature map of x (n, 3, size, size), flat: (n, pooled_size)."""
        return self.body(x)

    def features(self, pooled: Tensor) -> Tensor:
        """What the SVMs see: (n, pooled_size) to (n, width)."""
        return self.fc(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes + 1) of crops x (n, 3, size, size); background is the last."""
        return self.head(self.dropout(self.features(self.pooled(x))))


def pooled_size(size: int) -> int:
    """How many values the last feature map of a crop of `size` pixels a side has."""
    # The first convolution halves and rounds up, the two poolings halve and round down.
    side = (size + 1) // 8
    return 96 * side * side


def to_input(crops: NDArray[np.uint8]) -> Tensor:
    """The network's input (n, 3, size, size) of crops uint8 (n, size, size, 3)."""
    x = (crops.astype(np.float32) - np.float32(MIDDLE)) * np.float32(1 / SPREAD)
    return Tensor(x.transpose(0, 3, 1, 2))


def describe(
    net: RegionNet, crops: NDArray[np.uint8], batch: int = 128
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
    """Yield (pooled, features, logits) of the crops, `batch` of them at a time."""
    net.eval()
    with core.no_grad():
        for start in range(0, len(crops), batch):
            x = to_input(crops[start : start + batch]).to(net.head.weight.device)
            pooled = net.pooled(x)
            features = net.features(pooled)
            yield pooled.numpy(), features.numpy(), net.head(features).numpy()
