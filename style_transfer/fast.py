"""Pictures painted in one pass by a trained network: one, a folder of them, frames of a film."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core import no_grad, viz
from core.data.folder import pictures_below
from core.data.images import WRITABLE, Picture, read_image, resize, save_image
from core.device import to_device
from core.tensor import Tensor
from core.training.progress import track
from core.training.run import Run
from style_transfer import pictures
from style_transfer.objective import picture_of, tensor_of
from style_transfer.stylise import fitted, pixels
from style_transfer.transform import TransformNet

PAINTED = "painted"
"""Folder of the results, in that of the run."""

_DRAWN = 4  # pictures that are shown with what was made of them


def paint(net: TransformNet, picture: Picture) -> Picture:
    """A picture (H, W, 3) in the style that the network has learned."""
    device = next(net.parameters()).device
    seen = tensor_of(picture.astype(np.float32) / np.float32(255))
    with no_grad():
        made = net(Tensor(to_device(seen.data, device)))
    return pixels(picture_of(made))


def paint_all(net: TransformNet, paths: Sequence[Path], run: Run, size: int) -> dict[str, Any]:
    """Paint files, and all pictures below folders, under their own names; figures of it.

    `size` is the longer side of what is made. A file in a folder that cannot be read is passed
    over, and named in the figures; one that was asked for itself raises ValueError.
    """
    seconds: list[float] = []
    shown: list[tuple[Picture, Picture]] = []
    problems: list[str] = []
    start = time.perf_counter()
    for path, name in track(targets(paths), "painting"):
        try:
            scaled = _scaled(path, size)
        except (ValueError, OSError) as error:
            if path in paths:
                raise
            problems.append(str(error))
            continue
        before = time.perf_counter()
        made = paint(net, scaled)
        seconds.append(time.perf_counter() - before)
        save_image(run.path(f"{PAINTED}/{name}"), made)
        if len(shown) < _DRAWN:
            shown.append((scaled, made))
    if not shown:
        raise ValueError(f"not a single readable picture, for instance {problems[0]}")
    figures = {
        "pictures painted": len(seconds),
        "skipped": problems,
        "frames per second": len(seconds) / (time.perf_counter() - start),
        "frames per second of the network": 1 / statistics.median(seconds),
    }
    viz.save(pictures.pairs(shown), run.picture("before_after.png"))
    return figures


def _scaled(path: Path, size: int) -> Picture:
    """A picture whose longer side is brought to `size`; ValueError when the other is too short."""
    picture = read_image(path)
    try:
        return resize(picture, fitted(picture, size), "lanczos")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def targets(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """The files, and those below the folders, each with the name of what is made of it.

    That is its own, below the folder that was given. Raises FileNotFoundError for what is not
    there, and ValueError for nothing, an empty folder, and two files of one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such picture or folder")
        inside = list(pictures_below(path)) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"{path}: no pictures in this folder")
        for one in inside:
            name = one.relative_to(path) if path.is_dir() else Path(one.name)
            if name.suffix.lower() not in WRITABLE:
                name = name.with_suffix(".png")
            if name.as_posix() in found:
                raise ValueError(f"{found[name.as_posix()]} and {one} would both become {name}")
            found[name.as_posix()] = one
    if not found:
        raise ValueError("nothing to paint: expected pictures, or folders of them")
    return [(path, name) for name, path in found.items()]
