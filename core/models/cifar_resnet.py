"""The residual networks for CIFAR-10 (He et al. 2016, section 4.2)."""

from __future__ import annotations

from typing import Literal

from core import functional as F
from core import nn
from core.models.initialise import he_normal
from core.models.resnet import BasicBlock, projection
from core.tensor import Tensor

DEPTHS = (20, 32, 44, 56, 110)


class PaddedShortcut(nn.Module):
    """The shortcut without parameters: every other pixel, new channels of zeros (option A).

    (N, in_channels, H, W) gives (N, channels, H / stride, W / stride); half of the new channels
    stand before the old ones and half behind, which the paper leaves open.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        before = (channels - in_channels) // 2
        self.padding = (0, 0, 0, 0, before, channels - in_channels - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, stride={self.stride}"


class CifarResNet(nn.Sequential):
    """A 3x3 convolution, three stages of n residual blocks, the global mean, an affine layer.

    The depth is 6 n + 2. Input (N, in_channels, H, W), 32 pixels in the paper; result: logits
    (N, num_classes). For CIFAR-10 ResNet-20 has 269,722 parameters, -32 464,154, -44 658,586,
    -56 853,018, -110 1,727,962 (the paper's 0.27 to 1.7 million). `shortcut` "A" is the paper's for
    CIFAR, "B" the one with parameters. Weights start as He et al. 2015 draw them. Raises
    ValueError for a depth that is not 6 n + 2 and for another shortcut.
    """

    linear: nn.Linear

    def __init__(
        self,
        depth: int = 20,
        in_channels: int = 3,
        num_classes: int = 10,
        *,
        width: int = 16,
        shortcut: Literal["A", "B"] = "A",
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"CifarResNet: depth {depth}, expected 6 n + 2, such as 20")
        if shortcut not in _SHORTCUTS:
            raise ValueError(f"CifarResNet: shortcut {shortcut!r}, expected 'A' or 'B'")
        blocks = (depth - 2) // 6
        super().__init__(
            {
                "conv1": nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
                "bn1": nn.BatchNorm2d(width),
                "relu": nn.ReLU(),
                "layer1": _stage(blocks, width, width, shortcut),
                "layer2": _stage(blocks, width, 2 * width, shortcut),
                "layer3": _stage(blocks, 2 * width, 4 * width, shortcut),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "linear": nn.Linear(4 * width, num_classes),
            }
        )
        he_normal(self)


_SHORTCUTS = {"A": PaddedShortcut, "B": projection}


def _stage(blocks: int, in_channels: int, channels: int, shortcut: str) -> nn.Sequential:
    """Blocks, the first of which halves the picture where the channels double."""
    stage = nn.Sequential()
    if channels == in_channels:
        stage.append(BasicBlock(channels, channels))
    else:
        down = _SHORTCUTS[shortcut](in_channels, channels, 2)
        stage.append(BasicBlock(in_channels, channels, 2, down))
    for _ in range(blocks - 1):
        stage.append(BasicBlock(channels, channels))
    return stage
