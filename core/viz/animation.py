"""Pictures one after the other, as a GIF."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np

from core.data.images import Picture, resize
from core.io.files import write_bytes

_LONGEST = 320  # pixels of the longer side
_FRAME_MS, _LAST_MS = 100, 2000


def save_animation(
    pictures: Sequence[Picture], path: str | os.PathLike[str], *, rest: bool = True
) -> None:
    """Write pictures, uint8 (H, W) or (H, W, 3), as a GIF of at most 320 pixels, ten a second.

    With `rest` it stays on the last one for two seconds. Raises ValueError for no pictures.
    """
    from PIL import Image

    if not pictures:
        raise ValueError("save_animation: no pictures")
    height, width = pictures[-1].shape[:2]
    scale = min(1.0, _LONGEST / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    images = [Image.fromarray(np.ascontiguousarray(resize(one, shape))) for one in pictures]
    file = io.BytesIO()
    last = _LAST_MS if rest else _FRAME_MS
    images[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[_FRAME_MS] * (len(images) - 1) + [last],
        loop=0,
    )
    write_bytes(path, file.getvalue())
