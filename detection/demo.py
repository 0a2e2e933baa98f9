"""Find digits in held-out scenes: proposals, scored boxes, precision and recall, in pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core import viz
from core.cli import DemoOptions, resolve_device, run_command
from core.training.run import Run
from detection import pictures
from detection.coco import to_coco, write_coco
from detection.data import load
from detection.detector import Detector
from detection.evaluate import judge, recall_table
from detection.proposals import proposals_for
from detection.shipped import load_detector
from detection.train import Options as TrainingOptions
from detection.train import train

PROMISE = 0.85


@dataclass(frozen=True, kw_only=True)
class Options(DemoOptions):
    """Detect digits in held-out scenes and draw what was found; nothing is downloaded."""

    CHANGEABLE: ClassVar[frozenset[str]] = DemoOptions.CHANGEABLE | {"cache"}

    epochs: int = TrainingOptions.epochs
    """Epochs of fine-tuning, with --train."""

    cache: Path | None = None
    """Folder for the training's proposals and features; by default in the user's cache."""


def main(options: Options) -> None:
    """Detect, draw, and say how good it was; fails when the promised mAP is missed."""
    detector = None if options.train else load_detector("scenes", options.weights)
    run = Run.create(options.out, "detection", "demo", options)
    if detector is None:
        detector = _train(run, options)
    detector.net.to(resolve_device(options.device))
    summary = show(run, detector, options.count)
    # A handful of scenes says nothing about the promise.
    if options.weights is None and options.count >= 100 and summary < PROMISE:
        raise RuntimeError(f"mAP@0.5 is {summary:.3f}, the demo promises {PROMISE}")


def _train(run: Run, options: Options) -> Detector:
    return train(
        run,
        TrainingOptions(
            data="scenes",
            seed=options.seed,
            device=options.device,
            epochs=options.epochs,
            resume=options.resume,
            cache=options.cache,
        ),
    )


def show(run: Run, detector: Detector, count: int) -> float:
    """Look at `count` held-out scenes, write pictures and figures, and return mAP@0.5."""
    data = load("scenes", "test", count=count)
    workers = os.cpu_count() or 1
    readers = [picture.read for picture in data.pictures]
    proposals = proposals_for(readers, detector.recipe.proposals, workers=workers)
    judged = judge(detector, data, proposals)
    drawn = [detector.confident(found) for found in judged.predictions]
    title = f"{count} held-out scenes, mAP@0.5 = {judged.figures['mAP@0.5']:.3f}"
    viz.save(pictures.proposals(data, proposals), run.picture("proposals.png"))
    viz.save(pictures.detections(data, drawn), run.picture("detections.png"))
    viz.save(
        pictures.precision_recall(judged, data.classes, title), run.picture("precision_recall.png")
    )
    write_coco(
        run.path("predictions.json"), to_coco(judged.predictions, [p.id for p in data.pictures])
    )
    run.finish(
        {"images": count, **judged.figures, "proposal recall": recall_table(data, proposals)}
    )
    return float(judged.figures["mAP@0.5"])


if __name__ == "__main__":
    run_command(main, Options)
