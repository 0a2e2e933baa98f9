"""SegNet and SegNet-Basic: a decoder that puts values back where the poolings took them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from core import nn
from core.models.initialise import he_normal

# Convolutions of VGG-16's five stages, and their channels in widths.
_STAGES = (2, 2, 3, 3, 3)
_CHANNELS = (1, 2, 4, 8, 8)


class SegNetLayers:
    """SegNet for any package with the names of `core.nn`, so that its very layers can be timed.

    A class joins it with that package's Module and calls `add_layers`.
    """

    encoder: Any
    decoder: Any
    pool: Any
    unpool: Any

    def add_layers(self, package: Any, num_classes: int, in_channels: int, width: int) -> None:
        """VGG-16's convolutions with batch normalisation, and their mirror image."""
        filters = [width * n for n in _CHANNELS]
        before = [in_channels, *filters]
        encoder, decoder = [], []
        for i, count in enumerate(_STAGES):
            encoder.append(_stage(package, [before[i], *[filters[i]] * count]))
            # The last convolution of all gives the logits and has nothing behind it.
            back = _stage(package, [*[filters[i]] * count, before[i] if i else num_classes])
            decoder.append(back if i else back[:-2])
        self.encoder = package.ModuleList(encoder)
        self.decoder = package.ModuleList(decoder)
        self.pool = package.MaxPool2d(2, return_indices=True, ceil_mode=True)
        self.unpool = package.MaxUnpool2d(2)

    def forward(self, x: Any) -> Any:
        """Logits (N, num_classes, H, W) of pictures (N, in_channels, H, W)."""
        taken = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, indices = self.pool(x)
            taken.append((indices, size))
        for stage in reversed(list(self.decoder)):
            indices, size = taken.pop()
            x = stage(self.unpool(x, indices, output_size=size))
        return x


def _stage(package: Any, channels: Sequence[int]) -> Any:
    layers: list[Any] = []
    for before, after in pairwise(channels):
        layers += [package.Conv2d(before, after, 3, padding=1)]
        layers += [package.BatchNorm2d(after), package.ReLU()]
    return package.Sequential(*layers)


class SegNet(SegNetLayers, nn.Module):
    """SegNet (Badrinarayanan, Kendall and Cipolla 2017, section 3): logits for every pixel.

    Input (N, in_channels, H, W) of any size, result (N, num_classes, H, W). The encoder is VGG-16's
    convolutional part with batch normalisation; the decoder has its mirror image, fed by
    max-unpooling with the indices of the encoder's poolings. With 11 classes 29,449,355 parameters
    at `width` 64. Weights start as He et al. 2015 draw them.
    """

    def __init__(self, num_classes: int = 11, in_channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        self.add_layers(nn, num_classes, in_channels, width)
        he_normal(self)


class SegNetBasicLayers(SegNetLayers):
    """SegNet-Basic for any package with the names of `core.nn`."""

    def add_layers(self, package: Any, num_classes: int, in_channels: int, width: int) -> None:
        """Four 7x7 convolutions with batch normalisation and ReLU, and four back without ReLU."""
        self.encoder = package.ModuleList(basic_encoder(package, in_channels, width))
        decoder = []
        for level in range(len(self.encoder)):
            layers = [package.Conv2d(width, width, 7, padding=3), package.BatchNorm2d(width)]
            if level == 0:
                layers.append(package.Conv2d(width, num_classes, 1))
            decoder.append(package.Sequential(*layers))
        self.decoder = package.ModuleList(decoder)
        self.pool = package.MaxPool2d(2, return_indices=True, ceil_mode=True)
        self.unpool = package.MaxUnpool2d(2)


class SegNetBasic(SegNetBasicLayers, nn.Module):
    """SegNet-Basic: four encoders and four decoders of one 7x7 convolution each (section 3.1).

    Input and result as `SegNet`; 1,416,587 parameters with 11 classes at `width` 64. As in the
    authors' segnet_basic_train.prototxt, but for its local response normalisation of the input:
    each convolution has batch normalisation behind it, and a ReLU in the encoder alone.
    """

    def __init__(self, num_classes: int = 11, in_channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        self.add_layers(nn, num_classes, in_channels, width)
        he_normal(self)


def basic_encoder(package: Any, in_channels: int, width: int) -> list[Any]:
    """The four stages that SegNet-Basic and FCN-Basic share, without their poolings."""
    return [
        package.Sequential(
            package.Conv2d(before, width, 7, padding=3), package.BatchNorm2d(width), package.ReLU()
        )
        for before in (in_channels, width, width, width)
    ]
