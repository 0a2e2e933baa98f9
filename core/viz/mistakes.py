"""The pictures that a classifier got wrong (book, figure 8-2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.viz.grid import image_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONGEST = 16


def mistakes(
    pictures: Sequence[np.ndarray],
    true: Sequence[str],
    predicted: Sequence[str],
    confidence: Sequence[float] | np.ndarray,
    *,
    title: str = "",
) -> Figure:
    """Wrongly classified pictures, each under its true class and the one it was taken for.

    pictures: as `image_grid` takes them; `confidence`, in 0..1, is the probability of the predicted
    class. Of names such as "tabby, tabby cat" the first is shown. Raises ValueError for no
    pictures, or when the parts are not of one length.
    """
    for name, part in (("true", true), ("predicted", predicted), ("confidence", confidence)):
        if len(part) != len(pictures):
            raise ValueError(f"mistakes: {len(pictures)} pictures but {len(part)} {name}")
    titles = [
        f"{_short(t)}\nseen as {_short(p)}, {sure:.0%}"
        for t, p, sure in zip(true, predicted, confidence, strict=True)
    ]
    return image_grid(pictures, titles, title=title, size=1.5)


def _short(name: str) -> str:
    first = name.partition(",")[0]
    return first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"
