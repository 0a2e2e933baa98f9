"""Networks that look: from pictures to feature maps (N, C, h, w)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import Tensor, models, nn
from core import device as dev
from core import functional as F
from core.data.images import Picture, resize
from core.models.backbone import Backbone, normalised
from core.models.initialise import he_normal

OWN = "small"
# Classifiers with trained weights, and the channels of their last maps.
PRETRAINED: Mapping[str, int] = MappingProxyType(
    {"squeezenet1_0": 512, "squeezenet1_1": 512, "backbone": 256, "vgg16": 512}
)
NAMES = (OWN, *PRETRAINED)
_CLASSES = 1000

# What options may be: a file's header must not ask for more memory than a network takes.
_LIMITS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"width": (2, 256), "size": (32, 512), "grid": (1, 32)}
)


class Encoder(nn.Module):
    """Pictures uint8 (N, 3, size, size) become feature maps (N, channels, grid, grid).

    `size` is the side, in pixels, to which `prepare` brings any picture.
    """

    channels: int
    size: int

    def maps(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, 3, size, size) to feature maps."""
        raise NotImplementedError

    def forward(self, pictures: NDArray[np.uint8]) -> Tensor:
        x = normalised(pictures.astype(np.float32) / np.float32(255))
        return self.maps(Tensor(dev.to_device(x, next(self.parameters()).device)))

    def prepare(self, picture: Picture) -> NDArray[np.uint8]:
        """A picture (H, W, 3) as (3, size, size); squeezed, so that nothing is cut off."""
        if picture.shape[:2] != (self.size, self.size):
            picture = resize(picture, (self.size, self.size))
        return np.ascontiguousarray(picture.transpose(2, 0, 1))


class SmallEncoder(Encoder):
    """Convolutions with batch norm down to stride 16, residual blocks at strides 4 and 8.

    For pictures of 128 pixels and things of 20: (N, 3, 128, 128) to (N, 4 width, 8, 8). Half way,
    each place is told its row and column (Liu et al. 2018, "CoordConv"), for a sentence says where
    things are. With the default 1.0 million parameters, drawn as by He et al. 2015.
    """

    def __init__(self, *, width: int = 48, size: int = 128) -> None:
        super().__init__()
        self.size = size
        self.channels = 4 * width
        self.near = nn.Sequential(
            *_convolution(3, width // 2, stride=2),
            *_convolution(width // 2, width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            _residual(2 * width),
            nn.MaxPool2d(2),
        )
        self.far = nn.Sequential(
            *_convolution(2 * width + 2, 4 * width),
            _residual(4 * width),
            nn.MaxPool2d(2),
        )
        he_normal(self)

    def maps(self, x: Tensor) -> Tensor:
        near = self.near(x)
        return self.far(F.cat([near, _places(near)], 1))


def _places(like: Tensor) -> Tensor:
    """Row and column of each place of (N, C, H, W), from -1 to 1: (N, 2, H, W)."""
    n, _, height, width = like.shape
    axes = (np.linspace(-1, 1, length, dtype=np.float32) for length in (height, width))
    grid = np.broadcast_to(np.stack(np.meshgrid(*axes, indexing="ij")), (n, 2, height, width))
    return Tensor(dev.to_device(np.ascontiguousarray(grid), like.device))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _residual(channels: int) -> nn.Module:
    body = [*_convolution(channels, channels), *_convolution(channels, channels)]
    return nn.Residual(nn.Sequential(*body))


class ClassifierEncoder(Encoder):
    """The convolutional part of the classifier `name`, its map averaged to `grid` x `grid` places.

    Pictures are looked at with 224 pixels a side, which is what the networks know. A SqueezeNet
    scores its 1,000 classes at every place: with `class_scores` those are channels too.
    """

    def __init__(self, name: str, *, grid: int = 7, class_scores: bool = False) -> None:
        super().__init__()
        if class_scores and not name.startswith("squeezenet"):
            raise ValueError(f"{name} does not score classes at every place; squeezenet1_0 does")
        self.size = 224
        self.channels = PRETRAINED[name]
        self.grid = grid
        with nn.init.skip_draws():
            whole = Backbone() if name == "backbone" else models.build(name)
        self.features = whole.get_submodule("features")
        self.scorer = None
        if class_scores:
            # Dropout, which rests in a classifier that is used, the last convolution, ReLU.
            self.scorer = nn.Sequential(*list(whole.get_submodule("classifier").children())[:3])
            self.channels += _CLASSES

    def maps(self, x: Tensor) -> Tensor:
        y = self.features(x)
        if self.scorer is not None:
            y = F.cat([y, self.scorer(y)], 1)
        return F.adaptive_avg_pool2d(y, self.grid)


def build(name: str, **options: Any) -> Encoder:
    """A new encoder, one of NAMES, without trained weights.

    Raises ValueError for another name, for options it does not have or out of range.
    """
    if name not in NAMES:
        raise ValueError(f"encoder {name!r} is unknown; expected one of {', '.join(NAMES)}")
    for option, (least, most) in _LIMITS.items():
        value = options.get(option, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"encoder {name}: {option} is {value}, expected {least} to {most}")
    try:
        return SmallEncoder(**options) if name == OWN else ClassifierEncoder(name, **options)
    except TypeError as error:
        raise ValueError(f"encoder {name} does not take the options {options}") from error


def trained(name: str, *, data_root: Path | None = None, **options: Any) -> Encoder:
    """A classifier's encoder with the trained weights, in evaluation mode.

    Raises as `core.models.pretrained` does, and ValueError for "small", which has none.
    """
    if name not in PRETRAINED:
        raise ValueError(f"there are no trained weights for encoder {name!r}; train it")
    encoder = build(name, **options)
    whole = models.pretrained(name, data_root=data_root).model.state_dict()
    arrays = {key.replace("classifier.", "scorer."): array for key, array in whole.items()}
    own = encoder.state_dict()
    encoder.load_state_dict({key: arrays[key] for key in own})
    return encoder.eval()
