"""GoogLeNet: inception modules and two auxiliary classifiers (Szegedy et al. 2015; book, 8.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from core import device as dev
from core import functional as F
from core import nn
from core.models.initialise import he_normal
from core.tensor import Tensor

# Channels of each inception module (table 1): 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool proj.
_CHANNELS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

Unit = Callable[..., nn.Sequential]


class Outputs(NamedTuple):
    """What GoogLeNet gives in training: logits (N, num_classes) of the three classifiers."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor

    def cross_entropy(self, target: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The loss in training: the last classifier's and 0.3 times the others' (section 5).

        target (N,) class numbers.
        """
        last, second, first = (
            F.cross_entropy(logits, target, label_smoothing=label_smoothing) for logits in self
        )
        return last + (first + second) * 0.3


class Inception(nn.Concat):
    """1x1, 3x3 and 5x5 filters and a pooling side by side (figure 2 b).

    (N, in_channels, H, W) gives (N, out_channels, H, W). `unit` makes a convolution with what
    follows it; `large` is the size of the third branch's filters.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], unit: Unit, large: int) -> None:
        super().__init__()
        ones, threes_in, threes, fives_in, fives, pooled = channels
        self.out_channels = ones + threes + fives + pooled
        self.branch1 = unit(in_channels, ones, 1)
        self.branch2 = nn.Sequential(unit(in_channels, threes_in, 1), unit(threes_in, threes, 3))
        self.branch3 = nn.Sequential(unit(in_channels, fives_in, 1), unit(fives_in, fives, large))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), unit(in_channels, pooled, 1))


class Auxiliary(nn.Sequential):
    """The classifier beside the network that gives its middle a gradient (section 5)."""

    def __init__(self, in_channels: int, num_classes: int, unit: Unit, pool: nn.Module) -> None:
        super().__init__(
            {
                "pool": pool,
                "conv": unit(in_channels, 128, 1),
                "flatten": nn.Flatten(),
                "fc1": nn.Linear(128 * 4**2, 1024),
                "relu": nn.ReLU(),
                "dropout": nn.Dropout(0.7),
                "fc2": nn.Linear(1024, num_classes),
            }
        )


class GoogLeNet(nn.Module):
    """22 layers of filters: nine inception modules, the global mean, an affine layer.

    Input (N, in_channels, H, W), 224 pixels as a rule; result: logits (N, num_classes), or in
    training, with `aux_logits`, `Outputs`. With 1000 classes 13,004,888 parameters, 6,624,904
    without the auxiliary classifiers. Layers and state-dict names are torchvision's: batch
    normalisation, 3x3 filters where the paper has 5x5. `published=True` is the paper's
    network, for pictures of 224 pixels: 5x5 filters, biases, local response normalisation and
    the paper's poolings; 13,378,280 and 6,998,552 parameters. Weights start as He et al. 2015
    draw them, biases at zero.

    `transform_input` takes pictures that are normalised by ImageNet's means and deviations to
    -1..1, which torchvision's published weights are for.
    """

    input_scale: Tensor
    input_shift: Tensor

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        aux_logits: bool = True,
        transform_input: bool = False,
        published: bool = False,
    ) -> None:
        super().__init__()
        if transform_input:
            dtype = dev.get_default_dtype()
            self.register_buffer("input_scale", np.array(_SCALE, dtype), persistent=False)
            self.register_buffer("input_shift", np.array(_SHIFT, dtype), persistent=False)
        self.transform_input = transform_input
        unit = partial(_unit, batch_norm=not published)
        self.conv1 = unit(in_channels, 64, 7, stride=2)
        self.maxpool1 = _halve(3)
        self.norm1 = _normalisation() if published else None
        self.conv2 = unit(64, 64, 1)
        self.conv3 = unit(64, 192, 3)
        self.norm2 = _normalisation() if published else None
        self.maxpool2 = _halve(3)
        channels = 192
        for name, branches in _CHANNELS.items():
            module = Inception(channels, branches, unit, 5 if published else 3)
            self.add_module(f"inception{name}", module)
            channels = module.out_channels
            if name == "3b":
                self.maxpool3 = _halve(3)
            if name == "4e":
                self.maxpool4 = _halve(3 if published else 2)
        pool = partial(nn.AvgPool2d, 5, 3) if published else partial(nn.AdaptiveAvgPool2d, 4)
        self.aux1 = Auxiliary(512, num_classes, unit, pool()) if aux_logits else None
        self.aux2 = Auxiliary(528, num_classes, unit, pool()) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.4 if published else 0.2)
        self.fc = nn.Linear(channels, num_classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor | Outputs:
        """Logits, and in training those of the auxiliary classifiers too."""
        if self.transform_input:
            x = x * self.input_scale + self.input_shift
        x = nn.chain(x, *self._between("conv1", "inception4a"))
        aux1 = self.aux1(x) if self.training and self.aux1 is not None else None
        x = nn.chain(x, *self._between("inception4b", "inception4d"))
        aux2 = self.aux2(x) if self.training and self.aux2 is not None else None
        x = nn.chain(x, *self._between("inception4e", "inception5b"))
        logits = nn.chain(x, self.avgpool, self.flatten, self.dropout, self.fc)
        return logits if aux1 is None or aux2 is None else Outputs(logits, aux2, aux1)

    def _between(self, first: str, last: str) -> list[nn.Module]:
        """The layers from one name to another, in the order in which they were added."""
        layers = dict(self.named_children())
        names = list(layers)
        return [layers[name] for name in names[names.index(first) : names.index(last) + 1]]


# From (x - mean) / deviation of ImageNet to 2 x - 1, x in 0..1, for each channel.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCALE = [[[2 * deviation]] for deviation in _DEVIATIONS]
_SHIFT = [[[2 * mean - 1]] for mean in _MEANS]


def _unit(
    in_channels: int, channels: int, kernel_size: int, *, stride: int = 1, batch_norm: bool
) -> nn.Sequential:
    """A convolution and its ReLU, with batch normalisation between them instead of a bias."""
    convolution = nn.Conv2d(
        in_channels, channels, kernel_size, stride, padding=kernel_size // 2, bias=not batch_norm
    )
    if not batch_norm:
        return nn.Sequential({"conv": convolution, "relu": nn.ReLU()})
    norm = nn.BatchNorm2d(channels, eps=0.001)
    return nn.Sequential({"conv": convolution, "bn": norm, "relu": nn.ReLU()})


def _halve(kernel_size: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size, 2, ceil_mode=True)


def _normalisation() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
