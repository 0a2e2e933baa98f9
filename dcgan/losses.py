"""What the two networks play for."""

from __future__ import annotations

from typing import Literal

import numpy as np

from core import Tensor
from core import device as dev
from core import functional as F

Loss = Literal["bce", "hinge"]


def discriminator_loss(kind: Loss, real: Tensor, made: Tensor, smoothing: float = 0.0) -> Tensor:
    """Of the logits (N, 1) of real and of made pictures.

    "bce": -log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014), the target of real pictures
    lowered by `smoothing` (one-sided label smoothing, Salimans et al. 2016, section 3.4). "hinge":
    max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim and Ye 2017).
    """
    if kind == "hinge":
        return F.mean(F.relu(1 - real)) + F.mean(F.relu(1 + made))
    return _taken_as(real, 1 - smoothing) + _taken_as(made, 0.0)


def generator_loss(kind: Loss, made: Tensor) -> Tensor:
    """Of the logits (N, 1) of made pictures: -log D(G(z)), or -D(G(z)) for "hinge"."""
    return -F.mean(made) if kind == "hinge" else _taken_as(made, 1.0)


def _taken_as(logits: Tensor, target: float) -> Tensor:
    wanted = dev.array_module(logits.data).full(logits.shape, target, np.float32)
    return F.binary_cross_entropy_with_logits(logits, Tensor(wanted))
