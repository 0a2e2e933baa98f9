"""Label every pixel of held-out scenes: picture, truth, prediction and error, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from core import recipes
from core.cli import DemoOptions, resolve_device, run_command
from core.training.run import Run
from segmentation.data import load
from segmentation.evaluate import judge, report
from segmentation.recipes import RECIPES
from segmentation.segmenter import Segmenter, load_segmenter
from segmentation.train import Options as TrainingOptions
from segmentation.train import train

PROMISE = 0.85
RECIPE = "scenes-unet"


@dataclass(frozen=True, kw_only=True)
class Options(DemoOptions):
    """Label held-out scenes and draw what was found; nothing is downloaded."""

    epochs: int = RECIPES[RECIPE].epochs
    """Epochs of the training, with --train."""


def main(options: Options) -> None:
    """Label, draw, and say how good it was; fails when the promised mIoU is missed."""
    segmenter = None if options.train else load_segmenter("scenes", options.weights)
    run = Run.create(options.out, "segmentation", "demo", options)
    if segmenter is None:
        segmenter = _train(run, options)
    segmenter.net.to(resolve_device(options.device))
    reached = show(run, segmenter, options.count)
    # A handful of scenes says nothing about the promise.
    if options.weights is None and options.count >= 100 and reached < PROMISE:
        raise RuntimeError(f"mIoU is {reached:.3f}, the demo promises {PROMISE}")


def _train(run: Run, options: Options) -> Segmenter:
    return train(
        run,
        recipes.options(
            TrainingOptions,
            RECIPE,
            RECIPES,
            seed=options.seed,
            device=options.device,
            epochs=options.epochs,
            resume=options.resume,
        ),
    )[0]


def show(run: Run, segmenter: Segmenter, count: int) -> float:
    """Look at `count` held-out scenes, write pictures and figures, and return the mIoU."""
    data = load("scenes", "test", count=count)
    return float(run.finish(report(run, data, judge(segmenter, data)))["mIoU"])


if __name__ == "__main__":
    run_command(main, Options)
