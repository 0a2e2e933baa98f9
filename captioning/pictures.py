"""The pictures that the commands make."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from captioning.captioner import Caption
from captioning.data import CaptionData
from core import viz
from core.data.images import Picture

_LINE = 34  # characters beside a picture


def captions(data: CaptionData, written: Sequence[Sequence[Caption]], *, count: int = 8) -> Figure:
    """The first pictures with the sentence written about each, and two of its references."""
    shown = data.pictures[: min(count, len(written))]
    titles = [
        "\n".join(
            [
                textwrap.fill(str(several[0]), _LINE),
                *(textwrap.fill(f"({truth})", _LINE) for truth in picture.captions[:2]),
            ]
        )
        for picture, several in zip(shown, written, strict=False)
    ]
    title = f"{data.name}, {data.split}: written (two of the references)"
    pictures = [picture.read() for picture in shown]
    return viz.image_grid(pictures, titles, columns=4, title=title, size=2.4)


def attention(
    picture: Picture, words: Sequence[str], weights: NDArray[np.float32], *, columns: int = 7
) -> Figure:
    """A picture, and where the network looked before each word: weights (T, h, w).

    Red is the place of the largest weight of that word (Xu et al. 2015, figure 3).
    """
    maps = [viz.heat(picture, one / one.max()) for one in weights]
    titles = ["picture", *words, "(end)"][: len(maps) + 1]
    return viz.image_grid([picture, *maps], titles, columns=columns, size=1.5)
