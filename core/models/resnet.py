"""Residual networks for ImageNet (He et al. 2016, table 1)."""

from __future__ import annotations

from collections.abc import Sequence

from core import nn
from core.models.initialise import he_normal
from core.tensor import Tensor


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (figure 5, left): relu(body(x) + downsample(x)).

    (N, in_channels, H, W) gives (N, channels, H / stride, W / stride); without `downsample` x
    itself is added.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _convolution(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = nn.chain(x, self.conv1, self.bn1, self.relu1, self.conv2)
        shortcut = x if self.downsample is None else self.downsample(x)
        return nn.join(y, self.bn2, shortcut, self.relu2)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut (figure 5, right).

    (N, in_channels, H, W) gives (N, 4 channels, H / stride, W / stride). As in torchvision the
    3x3 convolution has the stride; in the paper the first one has it.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        wide = self.expansion * channels
        self.conv1 = _convolution(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = _convolution(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = _convolution(channels, wide, 1)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = downsample
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        inner = (self.conv1, self.bn1, self.relu1, self.conv2, self.bn2, self.relu2)
        y = nn.chain(x, *inner, self.conv3)
        shortcut = x if self.downsample is None else self.downsample(x)
        return nn.join(y, self.bn3, shortcut, self.relu3)


Block = type[BasicBlock] | type[Bottleneck]

_DEPTHS: dict[int, tuple[Block, tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
DEPTHS = tuple(_DEPTHS)


class ResNet(nn.Sequential):
    """A 7x7 convolution, four stages of residual blocks, the global mean, an affine layer.

    Input (N, in_channels, H, W), 224 pixels in the paper; result: logits (N, num_classes). With
    1000 classes ResNet-18 has 11,689,512 parameters, -34 21,797,672, -50 25,557,032,
    -101 44,549,160, -152 60,192,808. State-dict names are torchvision's. Shortcuts are 1x1
    convolutions where the shape changes (option B). Weights start as He et al. 2015 draw
    them. Raises ValueError for another depth.
    """

    fc: nn.Linear

    def __init__(
        self, depth: int = 18, in_channels: int = 3, num_classes: int = 1000, *, width: int = 64
    ) -> None:
        if depth not in _DEPTHS:
            raise ValueError(f"ResNet: depth {depth}, expected one of {DEPTHS}")
        block, counts = _DEPTHS[depth]
        super().__init__(
            {
                "conv1": nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
                "bn1": nn.BatchNorm2d(width),
                "relu": nn.ReLU(),
                "maxpool": nn.MaxPool2d(3, 2, padding=1),
                **_stages(block, counts, width),
                "avgpool": nn.AdaptiveAvgPool2d(1),
                "flatten": nn.Flatten(),
                "fc": nn.Linear(8 * width * block.expansion, num_classes),
            }
        )
        he_normal(self)


def _stages(block: Block, counts: Sequence[int], width: int) -> dict[str, nn.Module]:
    """layer1 to layer4; each but the first halves the picture and doubles the channels."""
    stages: dict[str, nn.Module] = {}
    channels = width
    for number, count in enumerate(counts):
        stride, inner = (1 if number == 0 else 2), width * 2**number
        stage = nn.Sequential()
        for _ in range(count):
            wide = inner * block.expansion
            changes = stride != 1 or channels != wide
            shortcut = projection(channels, wide, stride) if changes else None
            stage.append(block(channels, inner, stride, shortcut))
            channels, stride = wide, 1
        stages[f"layer{number + 1}"] = stage
    return stages


def projection(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """The shortcut with parameters: a 1x1 convolution, normalised (section 3.3, option B)."""
    return nn.Sequential(_convolution(in_channels, channels, 1, stride), nn.BatchNorm2d(channels))


def _convolution(in_channels: int, channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Without a bias, which the batch normalisation behind it would take away again."""
    return nn.Conv2d(
        in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=False
    )
