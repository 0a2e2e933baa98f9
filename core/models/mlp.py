"""The fully connected network of the book's third chapter."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from core import nn
from core.models.initialise import xavier_normal
from core.tensor import Tensor


class MLP(nn.Module):
    """Affine layers with a sigmoid after each but the last (book, 3.6).

    Input (N, ...) with in_features values a sample, pixels in 0..1; result: logits
    (N, num_classes). With the defaults, the book's 784-50-100-10, 45,360 parameters. Weights
    start as Glorot and Bengio 2010 draw them (book, 6.2.2), biases at zero.
    """

    def __init__(
        self, in_features: int = 784, hidden: Sequence[int] = (50, 100), num_classes: int = 10
    ) -> None:
        super().__init__()
        sizes = [in_features, *hidden, num_classes]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers[:-1])
        xavier_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))
