"""Find objects in your own pictures with a trained detector, and draw them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.cli import resolve_device, run_command
from core.data.folder import distinct_stems
from core.data.images import read_image, save_image
from detection.detector import Detector
from detection.metrics import Predictions
from detection.pictures import annotate
from detection.shipped import load_detector

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Find objects in pictures (JPEG, PNG, WebP) and write them with boxes."""

    pictures: tuple[Path, ...]
    """The pictures to look at."""

    data: str = "scenes"
    """The data set that the shipped weights were trained on: scenes (digits) or bccd (blood)."""

    weights: Path | None = None
    """Weights (safetensors) to use instead of the shipped ones."""

    out: Path | None = None
    """The annotated picture, or a folder; by default runs/detection-predict."""

    min_score: float | None = None
    """Least score of a box; by default what was best for each class on validation pictures."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU when there is one."""


def main(options: Options) -> None:
    """Annotate every picture; one that cannot be read is named, and the others go on."""
    targets = _targets(options)
    detector = load_detector(options.data, options.weights)
    detector.net.to(resolve_device(options.device))
    print(f"these weights know: {', '.join(detector.classes)} (trained on {detector.data})")
    pairs = zip(options.pictures, targets, strict=True)
    failures = [problem for pair in pairs if (problem := _one(*pair, detector, options.min_score))]
    if failures:
        raise ValueError("; ".join(failures))


def _one(path: Path, target: Path, detector: Detector, min_score: float | None) -> str:
    """Annotate one picture; the reason in one line when it cannot be done."""
    try:
        picture = read_image(path)
    except (ValueError, OSError) as error:
        return str(error)
    if min_score is None:
        found = detector.confident(detector.detect(picture))
    else:
        found = detector.detect(picture, min_score=min_score)
    save_image(target, annotate(picture, found, detector.classes))
    print(json.dumps(_described(path, target, found, detector.classes), indent=2))
    return ""


def _targets(options: Options) -> list[Path]:
    """Where each annotated picture goes. Raises ValueError rather than overwrite one of them."""
    pictures = options.pictures
    if not pictures:
        raise ValueError("predict: name at least one picture")
    out = Path("runs") / "detection-predict" if options.out is None else options.out
    if out.suffix.lower() in SUFFIXES and not out.is_dir():
        if len(pictures) > 1:
            raise ValueError(f"--out {out} is one picture, but {len(pictures)} are to be made")
        targets = [out]
    elif out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; expected a folder or a name in {SUFFIXES}")
    else:
        # Two pictures of the same name in different folders, or formats, stay two.
        targets = [out / f"{name}.png" for name in distinct_stems(pictures)]
    originals = {path.resolve() for path in pictures}
    for target in targets:
        if target.resolve() in originals:
            raise ValueError(f"{target} would be overwritten; choose another --out")
    return targets


def _described(path: Path, target: Path, found: Predictions, classes: tuple[str, ...]) -> dict:
    return {
        "picture": str(path),
        "annotated": str(target),
        "objects": [
            {
                "class": classes[label],
                "score": round(float(score), 3),
                "box": [round(float(v), 1) for v in box],
            }
            for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
        ],
    }


if __name__ == "__main__":
    run_command(main, Options)
