"""SimpleConvNet, the first convolutional network of the book (7.5)."""

from __future__ import annotations

from core import nn
from core.models.initialise import he_normal, normal
from core.tensor import Tensor


class SimpleConvNet(nn.Module):
    """Convolution, ReLU, 2x2 max pooling, affine, ReLU, affine (book, 7.5).

    Input (N, in_channels, image_size, image_size), pixels in 0..1; result: logits
    (N, num_classes). With the book's settings, the defaults, 433,890 parameters. Weights start
    as He et al. 2015 draw them (book, 6.2.3), or normal with the deviation `weight_std` (0.01 in
    the book's own figure of the filters, 7.6.1), biases at zero. Raises ValueError for a picture
    that is too small.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        *,
        filters: int = 30,
        kernel_size: int = 5,
        padding: int = 0,
        hidden: int = 100,
        weight_std: float | None = None,
    ) -> None:
        super().__init__()
        pooled = (image_size + 2 * padding - kernel_size + 1) // 2
        if pooled < 1:
            raise ValueError(
                f"SimpleConvNet: pictures of {image_size} pixels are too small for a filter of "
                f"{kernel_size} and a 2x2 pooling"
            )
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, filters, kernel_size, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(filters * pooled**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        if weight_std is None:
            he_normal(self)
        else:
            normal(self, weight_std)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))
