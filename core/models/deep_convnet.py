"""DeepConvNet, the deeper network of the book (8.1), a small VGG."""

from __future__ import annotations

from core import nn
from core.models.initialise import he_normal
from core.tensor import Tensor


class DeepConvNet(nn.Module):
    """Six 3x3 convolutions with ReLU, pooled after every second; affine, ReLU, dropout, affine.

    Book, 8.1.1. Input (N, in_channels, image_size, image_size), pixels in 0..1; result: logits
    (N, num_classes). With the defaults, the book's, 123,552 parameters. The book also
    drops out the logits; nothing learns from that, and it is left out here. Weights start as He et
    al. 2015 draw them (book, 6.2.3), biases at zero. Raises ValueError for a picture that is too
    small.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int = 28,
        num_classes: int = 10,
        *,
        channels: tuple[int, int, int] = (16, 32, 64),
        hidden: int = 50,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        # The fourth convolution pads by 2: 28 pixels become 14, 16 and 8, then 4.
        last = ((image_size // 2 + 2) // 2) // 2
        if image_size < 4:
            raise ValueError(f"DeepConvNet: pictures of {image_size} pixels, expected 4 or more")
        first, second, third = channels
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, first, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, second, 3, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(third, third, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(third * last**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))
