"""Fully convolutional networks: a classifier over the whole picture, its scores enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import Tensor, models, nn
from core import functional as F
from core.models.initialise import he_normal
from segmentation.encoders import classifier, load_features, places
from segmentation.segnet import basic_encoder

# Kernel of fc6, channels of fc6 and fc7, and zeros around the picture.
_HEADS = {"vgg16": (7, 4096, 99), "backbone": (3, 256, 0)}
# The poolings that are scored too, by the stride of the finest, from coarse to fine.
_POOLS: Mapping[int, tuple[str, ...]] = {32: (), 16: ("pool4",), 8: ("pool4", "pool3")}
_STRIDES = {"pool3": 8, "pool4": 16, "pool5": 32}
# What the published network multiplies skips with when all strides are trained at once.
_AT_ONCE = {"pool4": 0.01, "pool3": 0.0001}


@dataclass(frozen=True)
class Grid:
    """Where a map's cells lie in the picture: cell i is centred at pixel `origin` + `stride` i."""

    stride: int
    origin: float

    def enlarged(self, factor: int) -> Grid:
        """That of the map `factor` times as fine that `deconvolution` makes of it."""
        step = self.stride // factor
        return Grid(step, self.origin - step * (_kernel(factor) - 1) / 2)

    def moved(self, cells: int) -> Grid:
        """That of the map without its first `cells` rows and columns."""
        return Grid(self.stride, self.origin + self.stride * cells)


class FCN(nn.Module):
    """FCN-32s, -16s or -8s (Long, Shelhamer and Darrell 2015): logits for every pixel.

    Input (N, 3, H, W) of any size, result (N, num_classes, H, W), pixel on pixel. `encoder` is
    "vgg16", with the published head (fc6 of 7x7 and fc7, 4096 channels) and `padding` of 99 pixels
    (the 100 at the first convolution of the Caffe model, less its own 1), or "backbone" with a head
    of 256 channels whose fc6 is 3x3. `stride` is that of the finest map that is scored; skips start
    at zero (staged training), or with `at_once` are scaled by the published factors. Transposed
    convolutions start as bilinear interpolation, and learn. Layer names are the Caffe model's;
    `features` has torchvision's. With 21 classes FCN-8s on VGG-16 has 134,489,759 parameters.
    Raises ValueError for another encoder or stride.
    """

    def __init__(
        self,
        encoder: str = "vgg16",
        num_classes: int = 21,
        *,
        stride: int = 8,
        width: int | None = None,
        padding: int | None = None,
        at_once: bool = False,
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if encoder not in _HEADS or stride not in _POOLS:
            raise ValueError(
                f"FCN: encoder {encoder!r} and stride {stride}, expected one of "
                f"{', '.join(_HEADS)} and one of {', '.join(map(str, _POOLS))}"
            )
        kernel, hidden, zeros = _HEADS[encoder]
        hidden = hidden if width is None else width
        self.padding = zeros if padding is None else padding
        self.skips = _POOLS[stride]
        self.features, paths = _encoder(encoder, (*reversed(self.skips), "pool5"), channels)
        self._taps = models.features(self.features, paths)
        *depths, deepest = _channels(self.features, paths)
        # Padded pictures have a margin for a valid fc6; others keep their borders.
        margin = 0 if self.padding else kernel // 2
        self.fc6 = nn.Conv2d(deepest, hidden, kernel, padding=margin)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.score_fr = nn.Conv2d(hidden, num_classes, 1)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.5)
        he_normal(self)
        nn.init.zeros_(self.score_fr.weight)
        self._grid = self._pooled("pool5").moved(kernel // 2 - margin)
        self._scale = _AT_ONCE if at_once else dict.fromkeys(_AT_ONCE, 1.0)
        for name, depth in zip(self.skips, reversed(depths), strict=True):
            score = nn.Conv2d(depth, num_classes, 1)
            for parameter in score.parameters():
                nn.init.zeros_(parameter)
            self.add_module(f"score_{name}", score)
        self._enlargers = _enlargers(self.skips, stride)
        for name, factor in self._enlargers:
            self.add_module(name, deconvolution(num_classes, factor))

    def _pooled(self, name: str) -> Grid:
        """Where the cells of a pooling's map lie in the picture."""
        stride = _STRIDES[name]
        return Grid(stride, (stride - 1) / 2 - self.padding)

    def coarse(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores (N, num_classes, h, w) of fc7's cells, and the maps that skips are scored from."""
        if self.padding:
            x = F.pad(x, (self.padding,) * 4)
        *maps, y = self._taps(x).values()
        y = self.dropout(nn.chain(y, self.fc6, self.relu))
        y = self.dropout(nn.chain(y, self.fc7, self.relu))
        return self.score_fr(y), maps

    def forward(self, x: Tensor) -> Tensor:
        y, maps = self.coarse(x)
        grid = self._grid
        for name, (enlarger, factor) in zip(self.skips, self._enlargers, strict=False):
            y, grid = self.get_submodule(enlarger)(y), grid.enlarged(factor)
            skip = self.get_submodule(f"score_{name}")(maps.pop() * self._scale[name])
            y, grid = fuse(y, grid, skip, self._pooled(name))
        enlarger, factor = self._enlargers[-1]
        y, grid = self.get_submodule(enlarger)(y), grid.enlarged(factor)
        return _crop(y, round(-grid.origin), x.shape[2:])


class FCNBasic(nn.Module):
    """FCN-Basic: SegNet-Basic's encoder with an FCN's decoder (Badrinarayanan et al. 2017, 3.2).

    Input (N, in_channels, H, W) of any size, result (N, num_classes, H, W). The last map is scored
    by a 1x1 convolution and enlarged by two at a time, and at each size the encoder's map is scored
    and added. 622,892 parameters with 11 classes at `width` 64.
    """

    def __init__(self, num_classes: int = 11, in_channels: int = 3, *, width: int = 64) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(basic_encoder(nn, in_channels, width))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        levels = range(len(self.encoder))
        self.score = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in levels)
        he_normal(self)
        self.upscore = nn.ModuleList(deconvolution(num_classes, 2) for _ in levels)

    def forward(self, x: Tensor) -> Tensor:
        maps, size = [], x.shape[2:]
        for stage in self.encoder:
            x = self.pool(stage(x))
            maps.append(x)
        y = self.score[-1](maps.pop())
        grid = Grid(16, 7.5)
        for level in reversed(range(1, len(self.encoder))):
            y, grid = self.upscore[level](y), grid.enlarged(2)
            skip = self.score[level - 1](maps.pop())
            y, grid = fuse(y, grid, skip, Grid(grid.stride, (grid.stride - 1) / 2))
        y, grid = self.upscore[0](y), grid.enlarged(2)
        return _crop(y, round(-grid.origin), size)


def fuse(y: Tensor, grid: Grid, skip: Tensor, other: Grid) -> tuple[Tensor, Grid]:
    """The sum of two maps of one stride where both have cells, and its grid."""
    ahead = round((grid.origin - other.origin) / grid.stride)
    top, left = max(0, -ahead), max(0, ahead)
    size = [min(n - top, m - left) for n, m in zip(y.shape[2:], skip.shape[2:], strict=True)]
    return _crop(y, top, size) + _crop(skip, left, size), grid.moved(top)


def _crop(x: Tensor, start: int, size: Sequence[int]) -> Tensor:
    height, width = size
    return x[:, :, start : start + height, start : start + width]


def _kernel(factor: int) -> int:
    """The kernel of a bilinear enlargement by `factor` (section 3.3)."""
    return 2 * factor - factor % 2


def deconvolution(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution that starts as bilinear enlargement by `factor`, with its
    margins."""
    layer = nn.ConvTranspose2d(channels, channels, _kernel(factor), factor, bias=False)
    nn.init.bilinear_(layer.weight)
    return layer


def convolutionalised(linear: nn.Linear, kernel_size: int) -> nn.Conv2d:
    """The convolution that a fully connected layer is at every place (Long et al. 2015, 3.1).

    The layer takes the flattened map (C, kernel_size, kernel_size); the convolution gives its
    result for each such window of a larger map. Raises ValueError when its inputs are no such map.
    """
    channels, rest = divmod(linear.in_features, kernel_size**2)
    if rest:
        raise ValueError(
            f"convolutionalised: {linear.in_features} inputs are no map of "
            f"{kernel_size}x{kernel_size}"
        )
    layer = nn.Conv2d(channels, linear.out_features, kernel_size, bias=linear.bias is not None)
    shape = (linear.out_features, channels, kernel_size, kernel_size)
    layer.weight.copy_(linear.weight.numpy().reshape(shape))
    if layer.bias is not None and linear.bias is not None:
        layer.bias.copy_(linear.bias.numpy())
    return layer


def start_from_classifier(model: FCN, trained: nn.Module) -> None:
    """Give an FCN a classifier's weights: its convolutions, and a VGG's fc6 and fc7 as such.

    The last layer goes along when both have as many classes; a classifier without hidden layers
    (the backbone) gives its convolutions only. Raises ValueError when the head is not the
    classifier's.
    """
    load_features(model, trained)
    linear = [m for m in trained.modules() if isinstance(m, nn.Linear)]
    if len(linear) == 1:
        return
    layers = ((model.fc6, 7), (model.fc7, 1), (model.score_fr, 1))
    for (layer, kernel), source in zip(layers, linear, strict=True):
        converted = convolutionalised(source, kernel)
        if layer is model.score_fr and converted.out_channels != layer.out_channels:
            continue
        if converted.weight.shape != layer.weight.shape:
            raise ValueError(
                f"start_from_classifier: {converted.weight.shape} does not fit {layer.weight.shape}"
            )
        layer.load_state_dict(converted.state_dict())


def _encoder(
    name: str, taps: tuple[str, ...], channels: Sequence[int] | None
) -> tuple[nn.Sequential, list[str]]:
    """The convolutional part of a classifier of VGG's plan, and the paths of its layers `taps`."""
    whole = classifier(name, **({} if channels is None else {"channels": channels}))
    layers = list(whole.get_submodule("features").children())
    if not isinstance(layers[-1], nn.MaxPool2d):
        # The backbone has no pooling behind its last convolutions.
        layers.append(nn.MaxPool2d(2))
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            # Poolings see the last row and column too, as Caffe's: maps then cover any picture.
            layer.ceil_mode = True
    return nn.Sequential(*layers), [*places(whole, taps[:-1]), str(len(layers) - 1)]


def _channels(features: nn.Sequential, paths: Sequence[str]) -> list[int]:
    """The channels behind each of these layers: those of the last convolution before it."""
    found, channels = [], 0
    for place, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            channels = layer.out_channels
        if str(place) in paths:
            found.append(channels)
    return found


def _enlargers(skips: Sequence[str], stride: int) -> list[tuple[str, int]]:
    """The Caffe model's names for the transposed convolutions, from coarse to fine, and factors."""
    names = ["upscore2", *(f"upscore_{name}" for name in skips)][: len(skips)]
    return [*((name, 2) for name in names), (f"upscore{stride}", stride)]
