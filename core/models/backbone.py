"""Our own backbone: a small VGG that ships with the package, trained by this core."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core import functional as F
from core import nn
from core.models.initialise import he_normal
from core.tensor import Tensor

# What pictures in 0..1 are brought to, as torchvision's networks want them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Pairs of 3x3 convolutions with ReLU, a pooling between pairs; then the mean and one layer.

    VGG's plan (Simonyan and Zisserman 2015) in small: input (N, 3, H, W) of at least 16 pixels, by
    default five pairs of 32 to 256 filters at strides 1 to 16; result: logits (N, num_classes).
    With the defaults 2,354,986 parameters. `batch_norm` stands behind each convolution while the
    network is trained; `folded` takes it away without changing a result. Weights start as He et
    al. 2015 draw them. `layer_names` are VGG's (conv4_2, relu4_2, pool4).
    """

    layer_names: dict[str, str]

    def __init__(
        self,
        num_classes: int = 10,
        *,
        channels: Sequence[int] = (32, 64, 128, 256, 256),
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        inputs = 3
        for stage, outputs in enumerate(channels, start=1):
            if stage > 1:
                layers[f"pool{stage - 1}"] = nn.MaxPool2d(2)
            for number, first in enumerate((inputs, outputs), start=1):
                layers[f"conv{stage}_{number}"] = nn.Conv2d(first, outputs, 3, padding=1)
                if batch_norm:
                    layers[f"bn{stage}_{number}"] = nn.BatchNorm2d(outputs)
                layers[f"relu{stage}_{number}"] = nn.ReLU()
            inputs = outputs
        self.features = nn.Sequential(*layers.values())
        self.layer_names = {name: f"features.{i}" for i, name in enumerate(layers)}
        self.classifier = nn.Linear(inputs, num_classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        return self.classifier(pooled)


def normalised(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pictures (N, 3, H, W) of 0..1 as ImageNet's networks take them."""
    shape = (1, 3, 1, 1)
    mean, std = (np.array(v, np.float32).reshape(shape) for v in (MEAN, STD))
    return (pictures - mean) / std


def folded(model: Backbone) -> Backbone:
    """The same network without batch norm: its running statistics go into the convolutions.

    y = (w x + b - mean) g / sqrt(var + eps) + beta is a convolution again (Jacob et al. 2018,
    section 3.2).
    """
    layers = list(model.features)
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    channels = [layer.out_channels for layer in convolutions[::2]]
    result = Backbone(model.classifier.out_features, channels=channels)
    targets = [layer for layer in result.features if isinstance(layer, nn.Conv2d)]
    for target, source, norm in zip(targets, convolutions, norms, strict=True):
        weight, bias = _fold(source, norm)
        target.load_state_dict({"weight": weight, "bias": bias})
    result.classifier.load_state_dict(model.classifier.state_dict())
    return result.train(model.training)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    state, own = norm.state_dict(), convolution.state_dict()
    factor = state["weight"] / np.sqrt(state["running_var"] + norm.eps)
    bias = state["bias"] + (own["bias"] - state["running_mean"]) * factor
    return own["weight"] * factor[:, None, None, None], bias
