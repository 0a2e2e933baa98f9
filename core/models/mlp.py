"""The fully connected networks of the book's chapters 3 to 6."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from core import nn
from core.models.initialise import he_normal, normal, xavier_normal
from core.tensor import Tensor

_ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
)


class MLP(nn.Module):
    """Affine layers with an activation after each but the last (book, 3.6).

    Input (N, ...) with in_features values a sample, pixels in 0..1; result: logits
    (N, num_classes). With the defaults, the book's 784-50-100-10, 45,360 parameters;
    `hidden=(50,)` is its two-layer network (4.5), 39,760. `activation` is "sigmoid", "tanh" or
    "relu"; `batch_norm` stands before each activation (6.3), `dropout` behind it (6.4.3).

    Weights start as Glorot and Bengio 2010 draw them (book, 6.2.2), with ReLU as He et al. 2015
    (6.2.3), or normal with the deviation `weight_std` (6.2.1); biases at zero. Raises ValueError
    for another activation.
    """

    def __init__(
        self,
        in_features: int = 784,
        hidden: Sequence[int] = (50, 100),
        num_classes: int = 10,
        *,
        activation: str = "sigmoid",
        batch_norm: bool = False,
        dropout: float = 0.0,
        weight_std: float | None = None,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            expected = ", ".join(_ACTIVATIONS)
            raise ValueError(f"MLP: activation {activation!r}, expected one of {expected}")
        self.layers = nn.Sequential()
        for inputs, outputs in itertools.pairwise([in_features, *hidden]):
            self.layers.append(nn.Linear(inputs, outputs))
            if batch_norm:
                self.layers.append(nn.BatchNorm1d(outputs))
            self.layers.append(_ACTIVATIONS[activation]())
            if dropout:
                self.layers.append(nn.Dropout(dropout))
        self.layers.append(nn.Linear([in_features, *hidden][-1], num_classes))
        if weight_std is not None:
            normal(self, weight_std)
        elif activation == "relu":
            he_normal(self)
        else:
            xavier_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1))
