"""AlexNet, which began it all (Krizhevsky et al. 2012; book, 8.1.2)."""

from __future__ import annotations

from core import nn
from core.models.initialise import he_normal, normal


class AlexNet(nn.Sequential):
    """Five convolutions, three affine layers, in one tower (Krizhevsky 2014).

    Input (N, in_channels, H, W) of at least 63 pixels, 224 as a rule; result: logits (N,
    num_classes). With 1000 classes 61,100,840 parameters. Layers and state-dict names are
    torchvision's, which has 256 maps in the fourth convolution where the paper has 384. Weights
    start as He et al. 2015 draw them, biases at zero.
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        dropout: float = 0.5,
        hidden: int = 4096,
    ) -> None:
        super().__init__(
            {
                "features": nn.Sequential(
                    nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
                    nn.ReLU(),
                    nn.MaxPool2d(3, 2),
                    nn.Conv2d(64, 192, 5, padding=2),
                    nn.ReLU(),
                    nn.MaxPool2d(3, 2),
                    nn.Conv2d(192, 384, 3, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(384, 256, 3, padding=1),
                    nn.ReLU(),
                    nn.Conv2d(256, 256, 3, padding=1),
                    nn.ReLU(),
                    nn.MaxPool2d(3, 2),
                ),
                "avgpool": nn.AdaptiveAvgPool2d(6),
                "flatten": nn.Flatten(),
                "classifier": nn.Sequential(
                    nn.Dropout(dropout),
                    nn.Linear(256 * 6**2, hidden),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(hidden, hidden),
                    nn.ReLU(),
                    nn.Linear(hidden, num_classes),
                ),
            }
        )
        he_normal(self)


class PublishedAlexNet(nn.Sequential):
    """AlexNet as published: Krizhevsky et al. 2012, section 3 and figure 2.

    Two towers, which are the two groups of the second, fourth and fifth convolution, and local
    response normalisation. Input (N, in_channels, H, W) of 227 pixels (the paper says 224, which
    its own figures do not fit; other sizes, from 67 on, are averaged to its 6x6 maps); result:
    logits (N, num_classes). With 1000 classes 60,965,224 parameters. Weights start normal with
    deviation 0.01, biases at one in the second, fourth and fifth convolution and in the hidden
    affine layers, else at zero (section 5). `nn.LocalResponseNorm` divides the sum over the
    neighbours by their number, so that its alpha is five times the paper's.
    """

    features: nn.Sequential
    classifier: nn.Sequential

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        *,
        dropout: float = 0.5,
        hidden: int = 4096,
    ) -> None:
        classifier = nn.Sequential(
            nn.Linear(256 * 6**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 11, stride=4),
            nn.ReLU(),
            _normalisation(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(),
            _normalisation(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        super().__init__(
            {
                "features": features,
                "avgpool": nn.AdaptiveAvgPool2d(6),
                "flatten": nn.Flatten(),
                "classifier": classifier,
            }
        )
        normal(self, 0.01)
        grouped = [m for m in features if isinstance(m, nn.Conv2d) and m.groups == 2]
        affine = [m for m in classifier if isinstance(m, nn.Linear)]
        ones: list[nn.Conv2d | nn.Linear] = [*grouped, *affine[:-1]]
        for layer in ones:
            assert layer.bias is not None
            nn.init.ones_(layer.bias)


def _normalisation() -> nn.LocalResponseNorm:
    """Section 3.3: n = 5, k = 2, alpha = 1e-4, beta = 0.75."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
