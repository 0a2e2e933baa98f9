"""Find objects in your own pictures with a trained detector, and draw them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.cli import run_command
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


def main(options: Options) -> None:
    """Annotate every picture; one that cannot be read is named, and the others go on."""
    if not options.pictures:
        raise ValueError("predict: name at least one picture")
    detector = load_detector(options.data, options.weights)
    print(f"these weights know: {', '.join(detector.classes)} (trained on {detector.data})")
    failures = [problem for path in options.pictures if (problem := _one(path, detector, options))]
    if failures:
        raise ValueError("; ".join(failures))


def _one(path: Path, detector: Detector, options: Options) -> str:
    """Annotate one picture; the reason in one line when it cannot be done."""
    try:
        picture = read_image(path)
    except (ValueError, OSError) as error:
        return str(error)
    found = detector.detect(picture)
    if options.min_score is None:
        found = detector.confident(found)
    else:
        keep = found.scores >= options.min_score
        found = Predictions(found.boxes[keep], found.scores[keep], found.labels[keep])
    target = _target(path, options)
    save_image(target, annotate(picture, found, detector.classes))
    print(json.dumps(_described(path, target, found, detector.classes), indent=2))
    return ""


def _target(path: Path, options: Options) -> Path:
    out = Path("runs") / "detection-predict" if options.out is None else options.out
    if out.suffix.lower() not in SUFFIXES:
        return out / f"{path.stem}.png"
    if len(options.pictures) > 1:
        raise ValueError(f"--out {out} is one picture, but {len(options.pictures)} are to be made")
    return out


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
