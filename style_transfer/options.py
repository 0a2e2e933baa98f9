"""The options that say what counts in a picture: layers and weights of the perceptual loss."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from core.cli import CommonOptions, resolve_device
from style_transfer.network import Layers, Network, Pooling, Recipe, load
from style_transfer.objective import Weights


@dataclass(frozen=True, kw_only=True)
class LossOptions(CommonOptions):
    """Options of every command whose loss can be chosen; by default the network's recipe."""

    network: str = "backbone"
    """The network that looks: backbone (ships), squeezenet1_0, vgg19, any of core.models."""

    pooling: Pooling = "max"
    """Average pooling gives smoother pictures, as in the paper."""

    content_layers: tuple[str, ...] = ()
    """Layers for the content, each NAME or NAME=WEIGHT; by default the network's recipe."""

    style_layers: tuple[str, ...] = ()
    """Layers for the style, likewise."""

    content_weight: float = 1.0
    """Weight of the content loss."""

    style_weight: float | None = None
    """Weight of the style loss; by default the network's recipe."""

    tv_weight: float | None = None
    """Weight of the total variation, which smooths; by default the network's recipe."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0,
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            tv_weight=self.tv_weight,
        )

    def load_network(self) -> Network:
        """The network that looks; raises as `network.load` does."""
        return load(
            self.network,
            self.weights,
            data_root=self.data_root,
            pooling=self.pooling,
            device=resolve_device(self.device),
        )

    def loss_weights(self, network: Network) -> Weights:
        """What counts how much: the network's recipe, and what these options change."""
        weights = Weights.of(self._recipe(network))
        return replace(
            weights,
            content_weight=self.content_weight,
            style_weight=weights.style_weight if self.style_weight is None else self.style_weight,
            tv_weight=weights.tv_weight if self.tv_weight is None else self.tv_weight,
        )

    def recipe_of(self, network: Network) -> Recipe | None:
        """What is asked of a network unless these options say otherwise."""
        return network.recipe

    def _recipe(self, network: Network) -> Recipe:
        content, style = layers(self.content_layers), layers(self.style_layers)
        recipe = self.recipe_of(network)
        if recipe is not None:
            return replace(recipe, content=content or recipe.content, style=style or recipe.style)
        if not content or not style:
            raise ValueError(
                f"{network.name} has no default layers: name some with --content-layers and "
                "--style-layers"
            )
        return Recipe(content, style, style_weight=30.0, tv_weight=5.0)


def require(least: float, **values: float | None) -> None:
    """Raise ValueError for a flag, in the words of the command line, that is below `least`."""
    for name, value in values.items():
        if value is not None and not least <= value < float("inf"):
            raise ValueError(f"--{name.replace('_', '-')} is {value}; expected {least} or more")


def layers(given: Iterable[str]) -> Layers:
    """Layers with weights out of NAME=WEIGHT; those without one share 1 evenly.

    Raises ValueError for a weight that is no number of 0 or more.
    """
    parts = [text.partition("=") for text in given]
    found: dict[str, float] = {}
    for name, sign, weight in parts:
        try:
            found[name] = float(weight) if sign else 1 / len(parts)
        except ValueError:
            found[name] = -1.0
        if not 0 <= found[name] < float("inf"):
            raise ValueError(f"layer {name}={weight}: expected a weight of 0 or more")
    return found
