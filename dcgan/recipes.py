"""The recipes of the trainings, by name.

    python -m dcgan.train --recipe mnist --data-root DATA

Any setting may be changed by its flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from core.options import need_positive
from dcgan.losses import Loss
from dcgan.networks import check_sizes


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that a training depends on but its seed; the defaults are the paper's."""

    data: str = "digits"
    """digits (embedded), mnist, fashion-mnist, cifar-10, flowers, or a folder of pictures."""

    size: int = 64
    """Side of the pictures, a power of two."""

    width: int = 64
    """Channels of the finest layers."""

    latent: int = 100
    """Length of the noise."""

    conditional: bool = False
    """Tell both networks the class of each picture."""

    epochs: int = 10
    """How many times to go through the pictures."""

    batch_size: int = 128
    """Pictures in one step."""

    lr: float = 0.0002
    """Learning rate of both networks (Adam)."""

    beta1: float = 0.5
    """Adam's memory of gradients."""

    loss: Loss = "bce"
    """bce, or the hinge loss."""

    label_smoothing: float = 0.0
    """How far the target of real pictures is below 1 (one-sided)."""

    spectral: bool = False
    """Spectral normalisation of the discriminator, in place of batch norm."""

    average: float | None = None
    """Decay of a moving average of the generator's weights, such as 0.999; it then draws."""

    flip: bool = False
    """Mirror every other picture."""

    def __post_init__(self) -> None:
        need_positive(self, "epochs", "batch_size")
        if self.batch_size < 2:
            raise ValueError("--batch-size is 1; batch norm needs 2 or more")
        if not 0 < self.lr < 1:
            raise ValueError(f"--lr is {self.lr}; expected more than 0, less than 1")
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"--beta1 is {self.beta1}; expected 0 up to 1")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"--label-smoothing is {self.label_smoothing}; expected 0 up to 0.5")
        if self.label_smoothing and self.loss == "hinge":
            raise ValueError("--label-smoothing is of --loss bce; the hinge loss has no targets")
        check_sizes(self.size, width=self.width, latent=self.latent)
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"--average is {self.average}; expected between 0 and 1")

    def network_options(self, channels: int, classes: int) -> dict[str, Any]:
        """What the networks are made with."""
        return {
            "size": self.size,
            "channels": channels,
            "width": self.width,
            "latent": self.latent,
            "classes": classes if self.conditional else 0,
            "spectral": self.spectral,
        }


_SMALL = Recipe(size=32)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # The 1,437 digits of 8x8 that come with scikit-learn, in minutes.
        "digits": replace(
            _SMALL,
            data="digits",
            width=24,
            epochs=150,
            batch_size=64,
            average=0.99,
            conditional=True,
        ),
        "mnist": replace(_SMALL, data="mnist"),
        "mnist-conditional": replace(_SMALL, data="mnist", conditional=True, average=0.999),
        "fashion": replace(_SMALL, data="fashion-mnist", conditional=True, average=0.999),
        "cifar-10": replace(_SMALL, data="cifar-10", epochs=25, flip=True),
        "flowers": replace(
            Recipe(), data="flowers", epochs=200, batch_size=64, flip=True, average=0.999
        ),
    }
)
