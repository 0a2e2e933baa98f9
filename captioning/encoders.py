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
from core.models.backbone import MEAN, STD, Backbone
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
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", MEAN), ("std", STD)):
            one = np.array(values, np.float32).reshape(1, 3, 1, 1)
            self.register_buffer(name, one, persistent=False)

    def maps(self, x: Tensor) -> Tensor:
        """Normalised pictures (N, 3, size, size) to feature maps."""
        raise NotImplementedError

    def forward(self, pictures: Any) -> Tensor:
        # Bytes go to the device, which makes numbers of them.
        x = dev.to_device(pictures, self.mean.device).astype(np.float32) / np.float32(255)
        return self.maps(Tensor((x - self.mean.data) / self.std.data))

    def prepare(self, picture: Picture) -> NDArray[np.uint8]:
        """A picture (H, W, 3) as (3, size, size); squeezed, so that nothing is cut off."""
        if picture.shape[:2] != (self.size, self.size):
            picture = resize(picture, (self.size, self.size))
        return np.ascontiguousarray(picture.transpose(2, 0, 1))


class SmallEncoder(Encoder):
    """Convolutions with batch norm down to stride 16, residual blocks at strides 4 and 8.

    For pictures of 128 pixels and things of 40: (N, 3, 128, 128) to (N, 4 width, 8, 8). Half way,
    each place is told its row and column (Liu et al. 2018, "CoordConv"), for a sentence says where
    things are. With the default 1.0 million parameters, drawn as by He et al. 2015.
    """

    places: Tensor

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
        # Row and column of each place, from -1 to 1: (1, 2, side, side).
        axis = np.linspace(-1, 1, (size + 1) // 2 // 4, dtype=np.float32)
        places = np.stack(np.meshgrid(axis, axis, indexing="ij"))[None]
        self.register_buffer("places", places, persistent=False)
        he_normal(self)

    def maps(self, x: Tensor) -> Tensor:
        near = self.near(x)
        places = self.places.expand(len(near), *self.places.shape[1:])
        return self.far(F.cat([near, places], 1))


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


def class_of(name: str) -> type[Encoder]:
    """What makes the encoder `name`, one of NAMES."""
    return SmallEncoder if name == OWN else ClassifierEncoder


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
