"""The network that looks at the pictures: trained for something else, and frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from core import checkpoint, models, nn
from core import functional as F
from core.device import Array, to_device
from core.tensor import Tensor

Pooling = Literal["max", "average"]
Layers = Mapping[str, float]
"""Layers by name, each with its weight."""


@dataclass(frozen=True)
class Recipe:
    """What a network is asked for unless the user says otherwise; settled by eye."""

    content: Layers
    style: Layers
    style_weight: float
    """Of the style loss; the content loss has weight 1."""

    tv_weight: float
    """Of the total variation."""


def _evenly(*names: str) -> Layers:
    return {name: 1 / len(names) for name in names}


_VGG = Recipe(
    content=_evenly("relu4_2"),
    style=_evenly("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    style_weight=30.0,
    tv_weight=5.0,
)
_SQUEEZENET = Recipe(
    content=_evenly("features.3"),
    style=_evenly("features.1", "features.4", "features.7", "features.9"),
    style_weight=30.0,
    tv_weight=5.0,
)
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "backbone": _VGG,
        "squeezenet1_0": _SQUEEZENET,
        "squeezenet1_1": _SQUEEZENET,
        "vgg16": _VGG,
        "vgg19": _VGG,
    }
)
FAST_RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        name: replace(
            recipe,
            content=_evenly("relu3_2") if recipe is _VGG else recipe.content,
            style_weight=10.0,
            tv_weight=10.0,
        )
        for name, recipe in RECIPES.items()
    }
)
"""For the network that paints in one pass: it has no content to start from, but one to keep."""


@dataclass(frozen=True)
class Network:
    """A frozen network and how it wants its pictures."""

    name: str
    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: str = "cpu"
    _scale: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.mean) != 3:
            raise ValueError(f"{self.name} takes {len(self.mean)} channels, expected RGB pictures")
        mean, std = (np.array(v, np.float64).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        scale = tuple(to_device(part, self.device) for part in (1 / std, -mean / std))
        object.__setattr__(self, "_scale", scale)

    @property
    def recipe(self) -> Recipe | None:
        """The default layers and weights, where there are any for this network."""
        return RECIPES.get(self.name)

    @property
    def chain(self) -> nn.Sequential:
        """Its layers that run one after the other, as in VGG, SqueezeNet and the backbone."""
        found = getattr(self.model, "features", None)
        return found if isinstance(found, nn.Sequential) else nn.Sequential()

    def features(
        self,
        picture: Tensor,
        names: Iterable[str],
        *,
        each: Callable[[str, Tensor], Any] = lambda name, tap: tap,
        recompute: bool = False,
    ) -> dict[str, Any]:
        """Activations by layer for pictures (N, 3, H, W) in 0..1, with their gradient's graph.

        Nothing behind the last of `names` runs. What `each(name, activation)` makes of an
        activation is given in its place. With `recompute` no activation between those asked for is
        kept: they are computed again in the backward pass. Raises ValueError for a layer that the
        network does not have, for one inside another when recomputing, and for a picture too small.
        """
        factor, shift = (Tensor(part.astype(picture.dtype)) for part in self._scale)
        taps = models.features(self.model, names, each)
        seen = picture.to(self.device) * factor + shift
        try:
            return self._segments(seen, taps.paths, each) if recompute else taps(seen)
        except ValueError as error:
            size = "x".join(map(str, picture.shape[:1:-1]))
            raise ValueError(
                f"{self.name} cannot see a picture of {size} pixels: {error}"
            ) from None

    def _segments(
        self, x: Tensor, paths: Mapping[str, str], each: Callable[[str, Tensor], Any]
    ) -> dict[str, Any]:
        """What `each` makes of the activations at the paths; what is between two is not kept."""
        chain = self.chain
        places = {f"features.{number}": number for number in range(len(chain))}
        unknown = [name for name, path in paths.items() if path not in places]
        if unknown:
            raise ValueError(f"it cannot be recomputed up to {unknown[0]}, no layer of a chain")
        found: dict[str, Any] = {}
        start = 0
        for name, path in sorted(paths.items(), key=lambda item: places[item[1]]):
            part = chain[start : places[path] + 1]
            # A convolution with its ReLU keeps nothing but its result.
            x = checkpoint(part, x) if len(part) > 2 else part(x)
            start += len(part)
            found[name] = each(name, x)
        return {name: found[name] for name in paths}


def load(
    name: str,
    weights: Path | None = None,
    *,
    data_root: Path | None = None,
    pooling: Pooling = "max",
    device: str = "cpu",
) -> Network:
    """A pretrained network by name, or from a file of its weights, ready to look at pictures.

    Its classifier is dropped. Raises ValueError and FileNotFoundError as
    `core.models.pretrained` does.
    """
    if weights is None:
        found = models.pretrained(name, data_root=data_root)
    else:
        if not weights.exists():
            raise FileNotFoundError(f"{weights}: no such weights")
        architecture = name if name in models.NAMES else None
        found = models.load_pretrained(weights, architecture=architecture, data_root=data_root)
        # The file says it where it can.
        name = found.card.architecture
    model = found.model.eval().requires_grad_(False)
    if hasattr(model, "classifier"):
        # Most of VGG's memory, and no picture's features.
        model.classifier = nn.Identity()
    if pooling == "average":
        average_pooling(model)
    return Network(name, model.to(device), found.transform.mean, found.transform.std, device)


def average_pooling(model: nn.Module) -> None:
    """Let every max pooling take the mean instead, in place (Gatys et al. 2016, section 2)."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(
                    child.kernel_size,
                    child.stride,
                    child.padding,
                    ceil_mode=child.ceil_mode,
                    count_include_pad=False,
                )
                setattr(module, name, pool)


def normalise_activations(network: Network, pictures: Iterable[Tensor]) -> None:
    """Scale the filters, in place, so that each one's mean activation over `pictures` is 1.

    Each convolution is divided by what the next is multiplied by, so that no result changes
    (Gatys et al. 2016, section 2). Raises ValueError for a network that is not a chain of
    convolutions with ReLU, as VGG and the backbone are.
    """
    chain = list(network.chain)
    kinds = nn.Conv2d | nn.ReLU | nn.MaxPool2d | nn.AvgPool2d
    pairs = [(number, layer) for number, layer in enumerate(chain) if isinstance(layer, nn.Conv2d)]
    if not pairs or not all(isinstance(layer, kinds) for layer in chain):
        raise ValueError(
            f"{network.name} is no chain of convolutions with ReLU: its activations cannot be "
            "normalised"
        )
    names = [f"features.{number + 1}" for number, _ in pairs]
    means = _mean_activations(network, pictures, names)
    before = np.ones(3)
    for (_, layer), mean in zip(pairs, means, strict=True):
        # A filter that never fires stays as it is.
        after = np.where(mean > 1e-6, mean, 1.0)
        state = layer.state_dict()
        weight = state["weight"] * (before / after[:, None])[:, :, None, None]
        layer.load_state_dict(
            {"weight": weight.astype(np.float32), "bias": (state["bias"] / after).astype("f4")}
        )
        before = after


def _mean_activations(
    network: Network, pictures: Iterable[Tensor], names: list[str]
) -> list[np.ndarray]:
    """The mean of each channel over pictures and positions, layer by layer."""
    from core import no_grad

    sums, count = [np.zeros(1)] * len(names), 0
    with no_grad():
        for picture in pictures:
            found = network.features(picture, names, each=_channel_means)
            sums = [total + found[name] for total, name in zip(sums, names, strict=True)]
            count += 1
    return [total / count for total in sums]


def _channel_means(name: str, tap: Tensor) -> np.ndarray:
    return F.mean(tap, (0, 2, 3)).numpy().astype(float)
