"""LeNet-5, as LeCun et al. published it in 1998 and as it is written today (book, 7.6.1)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from core import device as dev
from core import functional as F
from core import nn
from core.models.initialise import he_normal
from core.tensor import Parameter, Tensor

# Table I: the maps of S2 (columns) that each map of C3 (rows) sees.
_TABLE = np.array(
    [
        [1, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 1, 1],
        [1, 0, 0, 0, 1, 1],
        [1, 1, 0, 0, 0, 1],
        [1, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 0, 1, 1, 1, 1],
        [1, 0, 0, 1, 1, 1],
        [1, 1, 0, 0, 1, 1],
        [1, 1, 1, 0, 0, 1],
        [1, 1, 0, 1, 1, 0],
        [0, 1, 1, 0, 1, 1],
        [1, 0, 1, 1, 0, 1],
        [1, 1, 1, 1, 1, 1],
    ],
    bool,
)

# Targets of the 84 units of F6: digits of 7x12 pixels in the manner of figure 3, which shows the
# whole ASCII set. Two that look alike have codes that are near each other.
_DIGITS = """
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
..###.. ...##.. .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
.##.##. ..###.. ##...## ##...## ...###. ##..... .##.... ##...## ##...## ##...##
##...## .####.. .....## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ...##.. .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ...##.. ....##. ..####. ##..##. ######. ######. ....##. .#####. .######
##...## ...##.. ...##.. .....## ##..##. .....## ##...## ...##.. ##...## .....##
##...## ...##.. ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ...##.. .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ....##. ##...## ##...## ..##... ##...## ....##.
..###.. .#####. ####### .#####. ....##. .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


class Squash(nn.Module):
    """1.7159 tanh(2/3 x), which maps 1 to 1 and -1 to -1 (eq. 6)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.tanh(x * (2 / 3)) * 1.7159


class Subsampling(nn.Module):
    """Sums of 2x2 pixels, times a coefficient, plus a bias, one of each a channel (S2, S4).

    (N, channels, H, W) gives (N, channels, H / 2, W / 2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        dtype = dev.get_default_dtype()
        self.weight = Parameter(np.zeros((channels, 1, 1), dtype))
        self.bias = Parameter(np.zeros((channels, 1, 1), dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, divisor_override=1) * self.weight + self.bias


class SparseConv2d(nn.Module):
    """A convolution without the connections that `table` (maps, in_channels) denies (C3).

    `weight` (connections, kernel_size, kernel_size) holds those that are, row by row of the
    table: the other kernels are zero and are not learned.
    """

    places: Tensor
    absent: Tensor

    def __init__(self, table: np.ndarray, kernel_size: int) -> None:
        super().__init__()
        dtype, count = dev.get_default_dtype(), int(table.sum())
        self.weight = Parameter(np.zeros((count, kernel_size, kernel_size), dtype))
        self.bias = Parameter(np.zeros(len(table), dtype))
        # The number behind the last connection is that of the kernel of zeros.
        places = np.full(table.shape, count)
        places[table] = np.arange(count)
        self.register_buffer("places", places, persistent=False)
        zeros = np.zeros((1, kernel_size, kernel_size), dtype)
        self.register_buffer("absent", zeros, persistent=False)

    def fan_in(self) -> np.ndarray:
        """The number of inputs of the unit that each connection leads to, (connections, 1, 1)."""
        present = self.places.numpy() < len(self.weight)
        of_map = present.sum(axis=1) * self.weight.shape[1] ** 2
        return np.repeat(of_map, present.sum(axis=1))[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, F.cat([self.weight, self.absent])[self.places], self.bias)


class RadialBasis(nn.Module):
    """-|x - code|^2 for the fixed code of each class (eq. 7): (N, 84) to (N, classes).

    With the sign turned these are logits, and cross entropy is the paper's discriminative
    criterion (eq. 9), but for its constant term, which stands for "no digit at all".
    """

    codes: Tensor

    def __init__(self, codes: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("codes", codes.astype(dev.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        # |x|^2 - 2 x code + |code|^2, and a code of +1 and -1 has the square 84.
        squares = (x * x).sum(dim=1, keepdim=True) + x.shape[1]
        return 2 * F.linear(x, self.codes) - squares


class LeNet5(nn.Sequential):
    """LeNet-5 as published: LeCun et al. 1998, section II.B.

    Input (N, in_channels, 28, 28) or 32x32, pixels in 0..1 with the ink at 1, which are brought to
    the paper's -0.1 for the background and 1.175 for the ink; 28 pixels are padded to 32. Result:
    logits (N, num_classes). The layers have the paper's names; C3 is connected by its table I.
    With the defaults the paper's 60,000 trainable parameters.

    `output` "rbf" measures distances to fixed codes, for ten classes at most, whose pictures
    are drawn here after the paper's figure 3; "softmax" is an affine layer. Weights start
    uniform in +-2.4 / fan_in. Raises ValueError for other sizes and more classes.
    """

    c3: SparseConv2d
    f6: nn.Linear

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        *,
        output: Literal["rbf", "softmax"] = "rbf",
    ) -> None:
        if image_size not in (28, 32):
            raise ValueError(f"LeNet5: pictures of {image_size} pixels, expected 28 or 32")
        super().__init__(
            {
                "input": Range((32 - image_size) // 2),
                "c1": nn.Conv2d(in_channels, 6, 5),
                "c1_squash": Squash(),
                "s2": Subsampling(6),
                "s2_squash": Squash(),
                "c3": SparseConv2d(_TABLE, 5),
                "c3_squash": Squash(),
                "s4": Subsampling(16),
                "s4_squash": Squash(),
                "c5": nn.Conv2d(16, 120, 5),
                "c5_squash": Squash(),
                "flatten": nn.Flatten(),
                "f6": nn.Linear(120, 84),
                "f6_squash": Squash(),
                "output": _output(output, num_classes),
            }
        )
        self.apply(_start)


class Range(nn.Module):
    """Pixels 0..1 with `padding` more on each side, brought to -0.1..1.175 (section II.B)."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.padding,) * 4) * 1.275 - 0.1


def _output(kind: str, num_classes: int) -> nn.Module:
    if kind == "softmax":
        return nn.Linear(84, num_classes)
    codes = digit_codes()
    if kind != "rbf" or num_classes > len(codes):
        raise ValueError(
            f"LeNet5: output {kind!r} for {num_classes} classes, expected 'rbf' for "
            f"{len(codes)} at most, or 'softmax'"
        )
    return RadialBasis(codes[:num_classes])


def digit_codes() -> np.ndarray:
    """The code of each digit: (10, 84), +1 for ink and -1 for paper."""
    rows = [line.split() for line in _DIGITS.split("\n") if line]
    pictures = ["".join(row[digit] for row in rows) for digit in range(10)]
    return np.array([[1.0 if pixel == "#" else -1.0 for pixel in p] for p in pictures])


def _start(module: nn.Module) -> None:
    """Weights uniform in +-2.4 / fan_in (section II.B), biases at zero."""
    fan_in: float | np.ndarray
    if isinstance(module, nn.Conv2d | nn.Linear):
        fan_in = nn.init.fans(module.weight)[0]
    elif isinstance(module, SparseConv2d):
        fan_in = module.fan_in()
    elif isinstance(module, Subsampling):
        fan_in = 4
    else:
        return
    nn.init.uniform_(module.weight, -2.4, 2.4)
    module.weight.copy_(module.weight.data / fan_in)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class ModernLeNet5(nn.Module):
    """LeNet-5 as it is written today: ReLU, max pooling, all connections, affine logits.

    Input (N, in_channels, image_size, image_size); result: logits (N, num_classes). With the
    defaults 61,706 parameters. Weights start as He et al. 2015 draw them (book, 6.2.3),
    biases at zero. Raises ValueError for a picture that is too small.
    """

    def __init__(self, in_channels: int = 1, image_size: int = 28, num_classes: int = 10) -> None:
        super().__init__()
        last = (image_size // 2 - 4) // 2
        if last < 1:
            raise ValueError(f"ModernLeNet5: pictures of {image_size} pixels, expected 12 or more")
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * last**2, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))
