"""A trained network with what one must know to use it: pictures in, label maps out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import core
from core import Tensor, nn
from core import functional as F
from core.data.images import Picture, resize
from core.io import weights
from core.io.weights import Card
from segmentation import tiles
from segmentation.batches import scaled_size, to_network
from segmentation.labels import Labels, LabelSet
from segmentation.networks import build, least_side

TILE, OVERLAP = 640, 96


@dataclass
class Segmenter:
    """A network, its classes and their colours, and the scale at which it works."""

    net: nn.Module
    labels: LabelSet
    architecture: str
    options: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    data: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        return self.labels.classes

    def predict(self, picture: Picture, *, tile: int = TILE, overlap: int = OVERLAP) -> Labels:
        """The class uint8 (H, W) of each pixel of a picture uint8 (H, W, 3) of any size.

        A picture longer than `tile` is looked at in tiles that overlap by `overlap` pixels.
        """
        return tiles.predict(self.probabilities, picture, tile, overlap)

    def probabilities(self, picture: Picture) -> NDArray[np.float32]:
        """The probability (C, H, W) of each class at each pixel, in one forward pass.

        Raises ValueError when the network gives no numbers: the likeliest class would be the first.
        """
        height, width = picture.shape[:2]
        small = resize(picture, scaled_size(picture, self.scale))
        rows, columns = small.shape[:2]
        least = least_side(self.architecture, self.options)
        margins = [(0, max(0, least - length)) for length in (rows, columns)]
        filled = np.pad(small, (*margins, (0, 0)), mode="edge")
        self.net.eval()
        with core.no_grad():
            x = Tensor(to_network(filled.transpose(2, 0, 1)[None]))
            y = self.net(x.to(next(self.net.parameters()).device))[:, :, :rows, :columns]
            if (rows, columns) != (height, width):
                y = F.interpolate(y, size=(height, width), mode="bilinear", align_corners=False)
            found = F.softmax(y, 1).numpy()[0]
        if not np.isfinite(found).all():
            raise ValueError(f"the {self.architecture} gives values that are no numbers")
        return found

    def save(
        self,
        path: Path,
        *,
        metrics: Mapping[str, float] | None = None,
        seed: int | None = None,
        half: bool = False,
    ) -> None:
        """Write network, classes and settings to one file; `half`: parameters in float16."""
        palette = self.labels.palette[: len(self.classes)]
        colours = [f"#{colour.tobytes().hex()}" for colour in palette]
        card = Card(
            architecture=self.architecture,
            classes=self.classes,
            data=self.data,
            metrics=metrics or {},
            seed=seed,
            extra={
                "options": json.dumps(dict(self.options)),
                "colours": json.dumps(colours),
                "scale": json.dumps(self.scale),
            },
        )
        arrays = weights.halved(self.net) if half else self.net.state_dict()
        weights.save(path, arrays, card.header())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote.

        Raises ValueError, naming the file, when it is broken or holds something else.
        """
        card = weights.read_card(path)
        try:
            options = json.loads(card.extra["options"])
            colours = [_rgb(text) for text in json.loads(card.extra["colours"])]
            scale = float(json.loads(card.extra["scale"]))
            if not 0 < scale <= 1:
                raise ValueError(f"its scale is {scale}")
            labels = LabelSet(card.classes, tuple(colours))
            with nn.init.skip_draws():
                net = build(card.architecture, len(labels.classes), **options)
        except KeyError as error:
            raise ValueError(
                f"{path} is no segmentation network: its header lacks {error}"
            ) from None
        except (ValueError, TypeError, IndexError, RecursionError, MemoryError) as error:
            line = " ".join(str(error).split())
            raise ValueError(f"{path}: broken header: {line}") from None
        weights.load_model(net, path)
        return cls(net.eval(), labels, card.architecture, options, scale, card.data)


def _rgb(text: Any) -> tuple[int, int, int]:
    if not isinstance(text, str) or not re.fullmatch(r"#[0-9a-f]{6}", text):
        raise ValueError(f"{text!r} is no colour")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def load_segmenter(name: str, path: Path | None = None) -> Segmenter:
    """The network in the file `path`, or the shipped one trained on the data set `name`.

    Raises FileNotFoundError in one line when there is none.
    """
    with weights.chosen("segmentation", name, path) as file:
        return Segmenter.load(file)
