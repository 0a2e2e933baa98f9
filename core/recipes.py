"""The recipes of the trainings whose figures are in docs/results.md, by name.

    python -m core.train --recipe deep-convnet-mnist --seed 3

Each was settled on 5,000 held-out training pictures, the same for all; the test pictures are scored
once, when a training is over. Any setting may be changed by its flag.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from core import models
from core.cli import CommonOptions, flag_value
from core.options import need_positive

DataName = Literal["mnist", "fashion-mnist", "cifar-10", "digits"]
Optimiser = Literal["adam", "adamw", "sgd"]
Schedule = Literal["constant", "cosine", "one-cycle"]
Augmentation = Literal["none", "affine", "elastic", "crop", "flip", "crop-flip"]


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How the weights of a network are found: `core.training.assemble` makes the parts of it."""

    epochs: int = 20
    """How many times to go through the training set."""

    batch_size: int = 100
    """Samples in one step."""

    optimizer: Optimiser = "adam"
    """sgd has Nesterov's momentum of 0.9; adamw decays the weights apart from the gradient."""

    lr: float = 0.001
    """Learning rate: at the start, or at the peak of one-cycle."""

    schedule: Schedule = "cosine"
    """constant, half a cosine down to zero, or up and down again (one-cycle)."""

    weight_decay: float = 0.0
    """Pull of the weights towards zero, as the optimiser means it."""

    label_smoothing: float = 0.0
    """Part of the target that is spread over all classes."""

    average: float | None = None
    """Decay of a moving average of the weights, such as 0.999; it is then what is evaluated."""

    def __post_init__(self) -> None:
        need_positive(self, "epochs", "batch_size")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"--lr is {self.lr}; expected more than 0")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ValueError(f"--weight-decay is {self.weight_decay}; expected 0 or more")
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"--label-smoothing is {self.label_smoothing}; expected 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Recipe(Optimisation):
    """Everything that the training of a classifier depends on but its seed."""

    data: DataName = "mnist"
    """Data set; digits are embedded, the others are looked for and downloaded."""

    model: str = "simple_convnet"
    """Network, one of core.models.NAMES."""

    width: int | None = None
    """Channels of the first layer, in networks that have it; by default the network's own."""

    dropout: float | None = None
    """Probability of dropout, in networks that have it; by default the network's own."""

    augment: Augmentation = "none"
    """Change the training pictures: turn, shift and scale (affine), bend as well (elastic), shift
    by up to an eighth (crop), mirror (flip)."""

    augment_p: float = 1.0
    """Probability that a training picture is changed; the others stay as they are."""

    erase: float = 0.0
    """Probability that a rectangle of a training picture is erased."""

    patience: int | None = None
    """Stop after so many epochs without a better one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, part in (("--augment-p", self.augment_p), ("--erase", self.erase)):
            if not 0 <= part <= 1:
                raise ValueError(f"{flag} is {part}; expected 0 to 1")
        self._check_network()

    def _check_network(self) -> None:
        """Refuse what the network does not have, before any data is read."""
        known = models.settings(self.model)
        for name, value in (("width", self.width), ("dropout", self.dropout)):
            if value is not None and name not in known:
                raise ValueError(
                    f"--{name}: {self.model} has none (--{name} None takes back the recipe's)"
                )
        need_positive(self, "width")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout is {self.dropout}; expected 0 or more, below 1")


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "plain": Recipe(),
        "simple-convnet-mnist": Recipe(
            model="simple_convnet", epochs=6, lr=0.003, schedule="one-cycle", augment="affine"
        ),
        # Book, 8.1.1, and its train_deepnet.py: Adam at one rate for 20 epochs.
        "deep-convnet-mnist": Recipe(model="deep_convnet", schedule="constant"),
        # At 0.05 and batches of 100 its distances to the codes blow up; Adam learns it slowly.
        "lenet5-mnist": Recipe(
            model="lenet5",
            epochs=10,
            batch_size=50,
            optimizer="sgd",
            lr=0.01,
            schedule="one-cycle",
            augment="affine",
        ),
        "lenet5-fashion": Recipe(
            data="fashion-mnist",
            model="lenet5_modern",
            epochs=15,
            lr=0.003,
            schedule="one-cycle",
            augment="flip",
        ),
        "best-mnist": Recipe(
            model="small_resnet",
            width=24,
            epochs=12,
            optimizer="sgd",
            lr=0.1,
            schedule="one-cycle",
            weight_decay=0.0005,
            label_smoothing=0.1,
            augment="elastic",
            augment_p=0.7,
        ),
        "best-fashion": Recipe(
            data="fashion-mnist",
            model="small_resnet",
            width=48,
            epochs=18,
            optimizer="sgd",
            lr=0.1,
            schedule="one-cycle",
            weight_decay=0.0005,
            label_smoothing=0.1,
            augment="crop-flip",
            erase=0.3,
        ),
        # Book, 6.5.2: 500 samples, whose best rate and decay core.search looks for.
        "search-mnist": Recipe(optimizer="sgd", schedule="constant"),
        "resnet20-cifar10": Recipe(
            data="cifar-10",
            model="cifar_resnet20",
            epochs=30,
            batch_size=128,
            optimizer="sgd",
            lr=0.2,
            schedule="one-cycle",
            weight_decay=0.0005,
            augment="crop-flip",
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Recipe, CommonOptions):
    """Options of a command that follows a recipe."""

    recipe: str = "plain"
    """Recipe, one of core.recipes.RECIPES; the flags change single settings of it."""

    resume: bool = False
    """Continue the unfinished run in the folder, as if it had not stopped."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        CommonOptions.__post_init__(self)


OptionsT = TypeVar("OptionsT")


def options(kind: type[OptionsT], name: str, /, recipes: Any = RECIPES, **changes: Any) -> OptionsT:
    """The options of a command that follows the recipe `name`, some of them changed.

    `kind` has the fields of the `recipes` and `recipe` for the name. Raises ValueError for a name
    that is not among them.
    """
    if name not in recipes:
        raise ValueError(f"recipe {name!r} is unknown; expected one of {', '.join(recipes)}")
    return kind(**{"recipe": name, **asdict(recipes[name]), **changes})


def defaults(
    kind: type[OptionsT], name: str, recipes: Mapping[str, Any] = RECIPES
) -> Callable[[Sequence[str]], OptionsT]:
    """What the flags of a command line change: the recipe that --recipe names there, or `name`."""
    return lambda args: options(kind, flag_value("--recipe", args) or name, recipes)
