"""The loss that the picture goes down: content, style and total variation, and its gradient.

    L = a sum_l w_l C_l + b sum_l w_l E_l + c TV

C_l = |F - P|^2 / |P|^2 compares features with the content's, E_l = |G - A|^2 / |A|^2 Gram matrices
with the style's (Gatys et al. 2016, eq. 1 and 4, each divided by its target's size, so that one
set of weights suits all layers and networks).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core import device as dev
from core import functional as F
from core import no_grad
from core.device import Array
from core.tensor import Tensor, record
from core.training.step import Recorded, numbers
from style_transfer.network import Layers, Network, Recipe

FloatPicture = NDArray[np.float32]
"""(H, W, 3), RGB in 0..1; an optimiser may leave that range."""

_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What counts how much; layers by name."""

    content: Layers
    style: Layers
    content_weight: float = 1.0
    style_weight: float = 1.0
    tv_weight: float = 0.0

    normalise_gradients: bool = False
    """Give each layer's gradient, where it enters the network, its weight as its L1 norm."""

    @classmethod
    def of(cls, recipe: Recipe) -> Weights:
        """What a network's recipe says."""
        return cls(
            content=recipe.content,
            style=recipe.style,
            style_weight=recipe.style_weight,
            tv_weight=recipe.tv_weight,
        )


@dataclass(frozen=True)
class Losses:
    """The parts of the loss before they are weighted, and their weighted sum."""

    total: float
    content: float
    style: float
    tv: float
    layers: dict[str, float]
    """Each layer's own: "content features.18", "style features.1"."""


@dataclass(frozen=True)
class _Goal:
    """What a layer is to become in one region: a Gram matrix, with its size."""

    gram: Tensor
    size: Tensor


class Objective:
    """The loss of a picture, between a content picture and one or more styles.

    `styles` are (1, 3, H, W) in 0..1 with a weight each: their Gram matrices are blended. With
    `regions`, one (H, W) in 0..1 for each style, each region has its own style instead (Gatys et
    al. 2017, section 4.1). Without `content` there is only texture, without `styles` only content.
    `recompute` is that of `Network.features`. Raises ValueError for a layer that the network does
    not have, and when nothing is asked for.
    """

    def __init__(
        self,
        network: Network,
        weights: Weights,
        content: Tensor | None = None,
        styles: Sequence[tuple[Tensor, float]] = (),
        regions: Sequence[NDArray[np.float32]] = (),
        *,
        recompute: bool = False,
    ) -> None:
        self.network = network
        self.recompute = recompute
        self.weights = weights
        self._content: dict[str, tuple[Tensor, Tensor]] = {}
        self._style: list[dict[str, _Goal]] = []
        self._regions = [np.asarray(region, np.float32)[None, None] for region in regions]
        self._guides: dict[str, list[tuple[Tensor, float]]] = {}
        if regions and len(regions) != len(styles):
            raise ValueError(f"{len(regions)} regions for {len(styles)} styles, expected as many")
        with no_grad():
            if content is not None:
                self._content = self._wanted(content)
            if styles and weights.style:
                self._style = self._goals(styles)
        if not self._names:
            raise ValueError("nothing to transfer: expected a content or a style, and layers of it")
        self._record()

    def _record(self) -> None:
        # Of a copy: what is recorded goes with this objective, not when a cycle is found.
        self._slope = Recorded(copy.copy(self)._losses_and_slope, self.network.device)

    def towards(self, content: Tensor) -> Objective:
        """The loss of other pictures: their own contents (N, 3, H, W), the same styles."""
        other = copy.copy(self)
        with no_grad():
            other._content = self._wanted(content)
        other._record()
        return other

    @property
    def _names(self) -> list[str]:
        """The layers that are looked at."""
        return [*dict.fromkeys([*self._content, *(self.weights.style if self._style else ())])]

    def _wanted(self, content: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """What the content's layers are to become, each with its size."""
        if not self.weights.content:
            return {}
        found = self.network.features(content, self.weights.content)
        return {name: (tap, _size(tap)) for name, tap in found.items()}

    def _goals(self, styles: Sequence[tuple[Tensor, float]]) -> list[dict[str, _Goal]]:
        """The Gram matrices of each region; without regions, one blend of all."""
        grams = []
        for picture, weight in styles:
            found = self.network.features(
                picture, self.weights.style, each=lambda name, tap: F.gram_matrix(tap)
            )
            grams.append((found, weight))
        if self._regions:
            return [{name: _Goal(g, _size(g)) for name, g in one.items()} for one, _ in grams]
        total = sum(weight for _, weight in grams)
        blend = {
            name: Tensor(sum(one[name].data * (weight / total) for one, weight in grams))
            for name in self.weights.style
        }
        return [{name: _Goal(g, _size(g)) for name, g in blend.items()}]

    def losses(self, picture: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of pictures (N, 3, H, W) to go down, and its parts before weighting.

        Of several pictures, each with a content of its own, it is the mean.
        """
        weights = self.weights
        picture = picture.to(self.network.device)
        # A layer's loss is made as soon as the layer is there, so that in the backward pass the
        # gradient of a large one is not made before its turn.
        found = self.network.features(
            picture, self._names, each=self._layer_losses, recompute=self.recompute
        )
        layers = {key: part for losses in found.values() for key, part in losses.items()}
        parts = {key: layers[key] for key in sorted(layers)}
        nothing = Tensor(dev.array_module(picture.data).zeros((), picture.dtype))
        for kind in ("content", "style"):
            losses = (w * parts[f"{kind} {name}"] for name, w in self._weighted(kind))
            parts[kind] = sum(losses, start=nothing)
        parts["tv"] = total_variation(picture)
        total = weights.content_weight * parts["content"]
        total = total + weights.style_weight * parts["style"] + weights.tv_weight * parts["tv"]
        return total, parts

    def _layer_losses(self, name: str, tap: Tensor) -> dict[str, Tensor]:
        """A layer's content loss, style loss, or both, before weighting."""
        weights, parts = self.weights, {}
        if name in self._content:
            target, size = self._content[name]
            seen = self._weighed(tap, weights.content[name] * weights.content_weight)
            parts[f"content {name}"] = ((seen - target) ** 2).sum() / size
        if self._style and name in weights.style:
            seen = self._weighed(tap, weights.style[name] * weights.style_weight)
            parts[f"style {name}"] = self._style_loss(name, seen)
        return parts

    def evaluate(self, picture: FloatPicture) -> tuple[Losses, FloatPicture]:
        """The losses of a picture and the gradient of their weighted sum, of its shape."""
        found, gradient = self._slope(tensor_of(picture).data)
        values = numbers(found)
        own = {name: value for name, value in values.items() if " " in name}
        losses = Losses(values["total"], values["content"], values["style"], values["tv"], own)
        return losses, picture_of(gradient)

    def _losses_and_slope(self, picture: Array) -> tuple[dict[str, Tensor], Tensor]:
        x = Tensor(picture, requires_grad=True)
        total, parts = self.losses(x)
        values = {name: part.detach() for name, part in {"total": total, **parts}.items()}
        del parts
        total.backward()
        assert x.grad is not None
        return values, x.grad

    def _weighted(self, kind: str) -> list[tuple[str, float]]:
        if kind == "content":
            return [(name, self.weights.content[name]) for name in self._content]
        return list(self.weights.style.items()) if self._style else []

    def _weighed(self, tap: Tensor, weight: float) -> Tensor:
        return unit_gradient(tap, weight) if self.weights.normalise_gradients else tap

    def _style_loss(self, name: str, tap: Tensor) -> Tensor:
        goals = [goals[name] for goals in self._style]
        if not self._regions:
            return _distance(F.gram_matrix(tap), goals[0])
        parts = []
        for goal, (guide, scale) in zip(goals, self._guides_of(name, tap), strict=True):
            parts.append(_distance(F.gram_matrix(tap * guide) * scale, goal))
        return sum(parts[1:], start=parts[0]) / len(parts)

    def _guides_of(self, name: str, tap: Tensor) -> list[tuple[Tensor, float]]:
        """Each region at a layer's resolution, and what makes its Gram matrix one of a whole."""
        if name not in self._guides:
            height, width = tap.shape[2:]
            self._guides[name] = []
            for region in self._regions:
                guide = F.adaptive_avg_pool2d(region, (height, width)).data
                scale = height * width / max(float((guide**2).sum()), _TINY)
                self._guides[name].append((Tensor(guide).to(tap.device), scale))
        return self._guides[name]


def _distance(gram: Tensor, goal: _Goal) -> Tensor:
    return ((gram - goal.gram) ** 2).sum() / (goal.size * len(gram))


def _size(target: Tensor) -> Tensor:
    total = (target.data.astype(np.float64) ** 2).sum()
    # A black picture may leave nothing at a layer: then the plain distance counts.
    size = dev.array_module(target.data).where(total > 0, total, 1.0)
    return Tensor(size.astype(target.dtype))


def total_variation(picture: Tensor) -> Tensor:
    """The mean squared difference of neighbours, down and across (Johnson et al. 2016, 3.2)."""
    down = picture[:, :, 1:] - picture[:, :, :-1]
    across = picture[:, :, :, 1:] - picture[:, :, :, :-1]
    return (down**2).mean() + (across**2).mean()


def unit_gradient(input: Tensor, norm: float) -> Tensor:
    """The same values; what comes back is scaled to the L1 norm `norm`."""

    def backward(gy: Array) -> tuple[Array | None, ...]:
        xp = dev.array_module(gy)
        return (gy * (norm / (xp.abs(gy).sum() + _TINY)).astype(gy.dtype),)

    return record(input.data, (input,), backward)


def tensor_of(picture: FloatPicture) -> Tensor:
    """(H, W, 3) as a network takes it, (1, 3, H, W), in the same memory."""
    return Tensor(picture.transpose(2, 0, 1)[None])


def picture_of(tensor: Tensor) -> FloatPicture:
    """(1, 3, H, W) as (H, W, 3) on the host."""
    return np.ascontiguousarray(dev.to_host(tensor.data)[0].transpose(1, 2, 0))
