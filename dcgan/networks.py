"""The two networks (Radford, Metz and Chintala 2016; book, 8.5.2)."""

from __future__ import annotations

from typing import Any

from core import Tensor, nn
from core import device as dev
from core import functional as F
from core.nn import init
from dcgan.spectral import SpectralConv2d

SMALLEST, LARGEST = 8, 256
_DEVIATION = 0.02  # of first weights, section 4
_LIMITS = {"channels": (1, 4), "width": (1, 512), "latent": (1, 4096), "classes": (0, 1000)}


class Generator(nn.Module):
    """Noise (N, latent) to pictures (N, channels, size, size) of -1 to 1.

    Transposed 4x4 convolutions: the first makes 4x4 places, each one after it doubles the side and
    halves the channels, down to `width` before the last; batch norm and ReLU behind all but that,
    which ends in tanh (section 3, figure 1). `size` is a power of two. With `classes`, labels (N,)
    are appended to the noise, one-hot (Mirza and Osindero 2014). Weights start as N(0, 0.02).
    """

    def __init__(
        self,
        *,
        size: int = 64,
        channels: int = 3,
        width: int = 64,
        latent: int = 100,
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(size, channels=channels, width=width, latent=latent, classes=classes)
        self.size, self.channels, self.latent, self.classes = size, channels, latent, classes
        layers: list[nn.Module] = []
        inputs = latent + classes
        for level, outputs in enumerate(reversed(_widths(size, width))):
            stride, padding = (2, 1) if level else (1, 0)
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            inputs = outputs
        last = nn.ConvTranspose2d(inputs, channels, 4, 2, 1, bias=False)
        self.layers = nn.Sequential(*layers, last, nn.Tanh())
        _start(self)

    def forward(self, noise: Tensor, labels: Any = None) -> Tensor:
        if self.classes:
            noise = F.cat([noise, _one_hot(labels, self.classes, noise)], 1)
        return self.layers(noise.unsqueeze(2).unsqueeze(3))


class Discriminator(nn.Module):
    """Pictures (N, channels, size, size) of -1 to 1 to logits (N, 1), above 0 for real ones.

    4x4 convolutions of stride 2 down to 4x4 places, LeakyReLU 0.2, batch norm behind all but the
    first and the last (section 3). With `classes`, labels (N,) are planes beside the colours. With
    `spectral`, spectral normalisation takes the place of batch norm (Miyato et al. 2018).
    """

    def __init__(
        self,
        *,
        size: int = 64,
        channels: int = 3,
        width: int = 64,
        classes: int = 0,
        spectral: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(size, channels=channels, width=width, classes=classes)
        self.size, self.channels, self.classes = size, channels, classes
        convolution = SpectralConv2d if spectral else nn.Conv2d
        layers: list[nn.Module] = []
        inputs = channels + classes
        for level, outputs in enumerate(_widths(size, width)):
            layers.append(convolution(inputs, outputs, 4, 2, 1, bias=spectral))
            if level and not spectral:
                layers.append(nn.BatchNorm2d(outputs))
            layers.append(nn.LeakyReLU(0.2))
            inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.head = convolution(inputs, 1, 4, bias=spectral)
        _start(self)

    def forward(self, pictures: Tensor, labels: Any = None) -> Tensor:
        return self.head(self.layers(self._seen(pictures, labels))).flatten(1)

    def maps(self, pictures: Tensor, labels: Any = None) -> list[Tensor]:
        """What each layer makes of the pictures, behind its LeakyReLU, from fine to coarse."""
        found, x = [], self._seen(pictures, labels)
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return found

    def _seen(self, pictures: Tensor, labels: Any) -> Tensor:
        if not self.classes:
            return pictures
        n, _, height, width = pictures.shape
        planes = _one_hot(labels, self.classes, pictures).unsqueeze(2).unsqueeze(3)
        return F.cat([pictures, planes.expand(n, self.classes, height, width)], 1)


def _widths(size: int, width: int) -> list[int]:
    """Channels from the finest level to the one of 4x4 places: width, doubled at each."""
    return [width * 2**level for level in range(size.bit_length() - 3)]


def _one_hot(labels: Any, classes: int, like: Tensor) -> Tensor:
    if labels is None or len(labels) != len(like):
        given = "none" if labels is None else str(len(labels))
        raise ValueError(f"labels: {given} for {len(like)} samples of a class-conditional network")
    module = dev.array_module(like.data)
    return Tensor((module.asarray(labels)[:, None] == module.arange(classes)).astype(dev.float32))


def _start(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4:
            init.normal_(parameter, 0.0, _DEVIATION)
        elif name.endswith("weight"):
            # Gains of batch norm, as in the authors' code.
            init.normal_(parameter, 1.0, _DEVIATION)


def check_sizes(size: int, **options: int) -> None:
    """Raise ValueError for a size or an option out of range."""
    if size not in (2**power for power in range(3, LARGEST.bit_length())):
        raise ValueError(f"size is {size}, expected a power of two from {SMALLEST} to {LARGEST}")
    for name, value in options.items():
        least, most = _LIMITS[name]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"{name} is {value}, expected {least} to {most}")
