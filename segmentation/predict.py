"""Label every pixel of your own pictures, or of a driving sequence, with a trained network."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core import viz
from core.cli import resolve_device, run_command
from core.data.folder import distinct_stems, named_pictures
from core.data.images import read_image, save_image, save_labels
from core.options import need_positive
from core.training.progress import track
from segmentation.labels import Labels
from segmentation.segmenter import OVERLAP, TILE, Segmenter, load_segmenter


@dataclass(frozen=True, kw_only=True)
class Options:
    """Label pictures (JPEG, PNG, WebP); writes label maps, overlays, and each class's share."""

    pictures: tuple[Path, ...]
    """The pictures to look at; a folder stands for all in it, the frames of a sequence, by name."""

    data: str = "scenes"
    """The data set that the shipped weights were trained on."""

    weights: Path | None = None
    """Weights (safetensors) to use instead of the shipped ones."""

    out: Path = Path("runs") / "segmentation-predict"
    """Folder for the label maps and overlays."""

    tile: int = TILE
    """Longest side, in pixels, that is looked at at once; larger pictures are cut into tiles."""

    overlap: int = OVERLAP
    """Pixels by which neighbouring tiles overlap."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU when there is one."""

    def __post_init__(self) -> None:
        need_positive(self, "tile")
        if not 0 <= self.overlap < self.tile:
            raise ValueError(f"--overlap is {self.overlap}; expected 0 to {self.tile - 1}")


def main(options: Options) -> None:
    """Label every picture; one that cannot be read is named, and the others go on."""
    paths = _not_written_here(named_pictures(options.pictures), options)
    targets = _targets(paths, options.out)
    segmenter = load_segmenter(options.data, options.weights)
    segmenter.net.to(resolve_device(options.device))
    print(f"these weights know: {', '.join(segmenter.classes)} (trained on {segmenter.data})")
    failures: list[str] = []
    seconds: list[float] = []
    for path, (mask, overlay) in track(list(zip(paths, targets, strict=True)), "labelling"):
        try:
            picture = read_image(path)
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        start = time.perf_counter()
        labels = segmenter.predict(picture, tile=options.tile, overlap=options.overlap)
        seconds.append(time.perf_counter() - start)
        palette = segmenter.labels.palette
        save_labels(mask, labels, palette)
        save_image(overlay, viz.overlay(picture, labels, palette))
        print(json.dumps(_described(path, mask, overlay, labels, segmenter)), flush=True)
    if len(seconds) > 1:
        took = f"{len(seconds)} pictures in {sum(seconds):.1f} s"
        print(f"{took}; {_rate(seconds):.2f} frames per second")
    if failures:
        raise ValueError("; ".join(failures))


def _rate(seconds: Sequence[float]) -> float:
    """Frames per second behind the first, which waits until the kernels are loaded or compiled."""
    return (len(seconds) - 1) / sum(seconds[1:])


def _not_written_here(paths: Sequence[Path], options: Options) -> list[Path]:
    """The pictures without those that an earlier call wrote to an --out below a folder of them."""
    out = options.out.resolve()
    if not any(path.resolve() in out.parents for path in options.pictures):
        return list(paths)
    return [p for p in paths if p in options.pictures or out not in p.resolve().parents]


def _targets(paths: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Where each label map and overlay goes. Raises ValueError rather than overwrite a picture."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; expected a folder")
    targets = [
        (out / f"{name}-mask.png", out / f"{name}-overlay.png") for name in distinct_stems(paths)
    ]
    originals = {path.resolve() for path in paths}
    for target in (target for pair in targets for target in pair):
        if target.resolve() in originals:
            raise ValueError(f"{target} would be overwritten; choose another --out")
    return targets


def _described(
    path: Path, mask: Path, overlay: Path, labels: Labels, segmenter: Segmenter
) -> dict[str, Any]:
    counts = np.bincount(labels.ravel(), minlength=len(segmenter.classes))
    shares = {
        segmenter.classes[label]: round(float(counts[label] / labels.size), 4)
        for label in np.argsort(-counts, kind="stable")
        if counts[label]
    }
    return {"picture": str(path), "mask": str(mask), "overlay": str(overlay), "shares": shares}


if __name__ == "__main__":
    run_command(main, Options)
