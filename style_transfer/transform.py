"""The image transformation network: a style in one pass (Johnson, Alahi and Fei-Fei 2016)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from core import nn
from core.io import weights
from core.io.weights import Card
from core.tensor import Tensor

ARCHITECTURE = "transform-net"
DEFAULT = "wave"
"""The style that ships."""

_OPTIONS = "options"


class TransformNet(nn.Module):
    """Pictures (N, 3, H, W) of 0..1, of at least 5 pixels, to painted ones of the same size.

    Two convolutions of stride 2, `blocks` residual ones, and back by enlarging and convolving,
    which leaves no checkerboard (Odena et al. 2016); instance normalisation behind each (Ulyanov
    et al. 2016). Johnson's has `width` 32 and 5 blocks: 1,677,635 parameters here; 16 has 424,099.
    Raises ValueError for a width outside 1 to 256, or blocks outside 1 to 32.
    """

    def __init__(self, width: int = 16, blocks: int = 5) -> None:
        super().__init__()
        if not 1 <= width <= 256 or not 1 <= blocks <= 32:
            raise ValueError(f"TransformNet: width {width}, blocks {blocks}; expected 1 to 256, 32")
        self.width, self.blocks = width, blocks
        wide = 4 * width
        self.encoder = nn.Sequential(
            *_stage(3, width, 9),
            *_stage(width, 2 * width, 3, stride=2),
            *_stage(2 * width, wide, 3, stride=2),
        )
        bodies = (
            nn.Sequential(*_stage(wide, wide, 3), *_stage(wide, wide, 3)[:-1])
            for _ in range(blocks)
        )
        self.body = nn.Sequential(*(nn.Residual(body) for body in bodies))
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"),
            *_stage(wide, 2 * width, 3),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            *_stage(2 * width, width, 3),
            nn.ReflectionPad2d(4),
            nn.Conv2d(width, 3, 9),
            nn.Sigmoid(),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        made = self.decoder(self.body(self.encoder(pictures)))
        # Halves are rounded up on the way down.
        return made[:, :, :height, :width]


def _stage(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.ReflectionPad2d(kernel_size // 2),
        nn.Conv2d(inputs, outputs, kernel_size, stride=stride, bias=False),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.ReLU(),
    ]


def card_of(net: TransformNet, style: str, **about: Any) -> Card:
    """What a file of the network's weights says: how to build it, and the name of its style."""
    options = json.dumps({"width": net.width, "blocks": net.blocks})
    return Card(architecture=ARCHITECTURE, extra={_OPTIONS: options, "style": style}, **about)


def load(path: str | os.PathLike[str] | None = None) -> tuple[TransformNet, str]:
    """The network in a file of weights, in evaluation mode, and the name of its style.

    By default the one that ships. Raises ValueError, naming the file, when it holds another
    network; FileNotFoundError when there is none.
    """
    if path is None:
        with weights.shipped("style_transfer", f"{DEFAULT}.safetensors") as shipped:
            return load(shipped)
    card = weights.read_card(path)
    if card.architecture != ARCHITECTURE:
        raise ValueError(
            f"{path} holds {card.architecture or 'an unknown network'}, expected {ARCHITECTURE}: "
            "weights that style_transfer.train wrote"
        )
    try:
        options: Any = json.loads(card.extra[_OPTIONS])
        with nn.init.skip_draws():
            net = TransformNet(**options)
    except (KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: its header does not say how to build it: {error}") from None
    weights.load_model(net, path)
    return net.eval(), card.extra.get("style", Path(path).stem)
