"""A residual network of few, wide layers that learns small pictures in a few epochs."""

from __future__ import annotations

from core import nn
from core.models.initialise import he_normal
from core.tensor import Tensor


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _residual(channels: int) -> nn.Module:
    """x + relu(bn(conv(relu(bn(conv(x))))))."""
    body = [*_convolution(channels, channels), *_convolution(channels, channels)]
    return nn.Residual(nn.Sequential(*body))


class SmallResNet(nn.Module):
    """Convolutions with batch norm, two residual blocks, the largest value of each map, affine.

    After the nine-layer network of Page 2018 ("How to train your ResNet"), with the first pooling
    right behind the first convolution, because pictures of 28 pixels leave little to find at full
    size. Input (N, in_channels, H, W), H and W at least 4, pixels in 0..1; result: logits
    (N, num_classes). With the defaults 463,594 parameters. Weights start as He et al. 2015 draw
    them, biases at zero.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        *,
        width: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        first, second, third = width, 2 * width, 4 * width
        self.features = nn.Sequential(
            *_convolution(in_channels, first),
            nn.MaxPool2d(2),
            *_convolution(first, second),
            _residual(second),
            nn.MaxPool2d(2),
            *_convolution(second, third),
            _residual(third),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(third, num_classes))
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).amax((2, 3)))
