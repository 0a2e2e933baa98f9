"""U-Net with residual blocks: an encoder, and a decoder that sees each of its maps again."""

from __future__ import annotations

from typing import Protocol

from core import Tensor, nn
from core import functional as F
from core.models.initialise import he_normal
from segmentation.encoders import TappedEncoder


class Encoder(Protocol):
    """Gives maps from fine to coarse, and says how many channels each has."""

    channels: tuple[int, ...]

    def __call__(self, x: Tensor, /) -> list[Tensor]: ...


class UNet(nn.Module):
    """Encoder and decoder with shortcuts between maps of one size: logits for every pixel.

    Input (N, in_channels, H, W), any size; result (N, num_classes, H, W). On the way up a map is
    enlarged to the next finer one's size, joined with it, and goes through a residual block; the
    last logits are enlarged to the input's size. Ronneberger et al. 2015 (shortcuts), He et al.
    2016 (blocks). By default the encoder is a `ResidualEncoder` of `depth` levels with `width` to 8
    `width` channels; `encoder` names a classifier to take instead (`TappedEncoder`), and `width` is
    then the decoder's alone. With the defaults and 11 classes 475,275 parameters. Weights start as
    He et al. 2015 draw them.
    """

    def __init__(
        self,
        num_classes: int = 11,
        in_channels: int = 3,
        *,
        width: int = 16,
        depth: int = 4,
        stride: int = 1,
        encoder: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder: Encoder
        if encoder is None:
            self.encoder = ResidualEncoder(in_channels, width, depth, stride)
        else:
            self.encoder = TappedEncoder(encoder)
        channels = self.encoder.channels
        if encoder is None:
            outputs = list(channels[:-1])
        else:
            outputs = [width * 2**level for level in range(len(channels) - 1)]
        self.reduce, self.decoder = nn.ModuleList(), nn.ModuleList()
        below = channels[-1]
        for skip, output in reversed(list(zip(channels, outputs, strict=False))):
            self.reduce.append(_convolution(below, output, 1))
            self.decoder.append(residual(output + skip, output))
            below = output
        self.head = nn.Conv2d(below, num_classes, 1)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        *skips, y = self.encoder(x)
        for reduce, block, skip in zip(self.reduce, self.decoder, reversed(skips), strict=True):
            y = F.interpolate(reduce(y), size=skip.shape[2:])
            y = block(F.cat([y, skip], dim=1))
        y = self.head(y)
        if y.shape[2:] == x.shape[2:]:
            return y
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class ResidualEncoder(nn.Module):
    """A convolution, and residual blocks between poolings: maps of width, 2, 4, 8, 8 ... widths.

    (N, in_channels, H, W) gives `depth` maps from fine to coarse; the first is of the input's size,
    or of half of it with a `stride` of 2.
    """

    def __init__(self, in_channels: int, width: int, depth: int, stride: int) -> None:
        super().__init__()
        self.channels = tuple(width * 2 ** min(level, 3) for level in range(depth))
        self.stem = _convolution(in_channels, width, 3, stride)
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.ModuleList(
            residual(before, after)
            for before, after in zip((width, *self.channels), self.channels, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for level, block in enumerate(self.blocks):
            x = block(self.pool(x) if level else x)
            maps.append(x)
        return maps


def residual(before: int, after: int) -> nn.Module:
    """Two 3x3 convolutions around which their input is added (He et al. 2016, figure 2)."""
    body = nn.Sequential(
        *_convolution(before, after, 3),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
    )
    shortcut = None
    if before != after:
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
    return nn.Residual(body, shortcut, activation=nn.ReLU())


def _convolution(before: int, after: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(
        before, after, kernel_size, stride, padding=kernel_size // 2, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
