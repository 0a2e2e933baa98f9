"""Pictures one after the other, as a GIF."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np

from core.data.images import Picture, resize
from core.io.files import write_bytes

_LONGEST = 320  # pixels of the longer side
_LAST_MS = 2000
_FASTEST = 15.0  # pictures a second


def save_animation(
    pictures: Sequence[Picture],
    path: str | os.PathLike[str],
    *,
    fps: float = 10.0,
    rest: bool = True,
) -> None:
    """Write pictures, uint8 (H, W) or (H, W, 3), as a looping GIF of at most 320 pixels a side.

    `fps` of them are shown in a second; of a film faster than 15 only every second, third ... is
    kept. With `rest` it stays on the last one for two seconds. Raises ValueError for no pictures.
    """
    from PIL import Image

    if not pictures:
        raise ValueError(f"{path}: no pictures to save")
    stride = max(1, round(fps / _FASTEST))
    kept = pictures[::stride]
    # The format counts hundredths of a second.
    frame_ms = 10 * max(1, round(100 * stride / fps))
    height, width = pictures[-1].shape[:2]
    scale = min(1.0, _LONGEST / max(height, width))
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    images = [Image.fromarray(np.ascontiguousarray(resize(one, shape))) for one in kept]
    file = io.BytesIO()
    last = _LAST_MS if rest else frame_ms
    images[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=[frame_ms] * (len(images) - 1) + [last],
        loop=0,
    )
    write_bytes(path, file.getvalue())
