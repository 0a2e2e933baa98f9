"""Score a trained network on a split: every figure, predictions as label maps, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core import viz
from core.cli import CommonOptions, resolve_device, run_command
from core.data.images import save_labels
from core.options import need_positive
from core.training.progress import track
from core.training.run import Run
from segmentation import pictures
from segmentation.data import SegmentationData, load
from segmentation.labels import Labels
from segmentation.metrics import Scores, boundary_f1, confusion_matrix
from segmentation.segmenter import Segmenter, load_segmenter


@dataclass(frozen=True)
class Judged:
    """Predictions for every picture of a split, and how good they are."""

    predictions: list[Labels]
    scores: Scores
    figures: dict[str, Any]


def judge(segmenter: Segmenter, data: SegmentationData) -> Judged:
    """Predict every picture, and measure.

    Raises ValueError for a network of other classes than those of the data.
    """
    if segmenter.classes != data.classes:
        raise ValueError(
            f"{data.name} has the classes {', '.join(data.classes)}, "
            f"the network knows {', '.join(segmenter.classes)}"
        )
    classes = len(data.classes)
    matrix, predictions, boundaries = np.zeros((classes, classes), np.int64), [], []
    for picture, truth in track(data, "predicting", total=len(data.pictures)):
        predicted = segmenter.predict(picture)
        matrix += confusion_matrix(truth, predicted, classes)
        boundaries.append(boundary_f1(truth, predicted, classes))
        predictions.append(predicted)
    scores = Scores(matrix)
    there = [value for value in boundaries if not np.isnan(value)]
    figures = {
        **scores.figures(),
        "boundary_F1": float(np.mean(there)) if there else None,
        "classes": scores.table(data.classes),
    }
    return Judged(predictions, scores, figures)


def report(run: Run, data: SegmentationData, judged: Judged) -> dict[str, Any]:
    """Draw, write the predictions as label maps (PNG), and return the figures."""
    figure = pictures.comparison(data, judged.predictions, judged.scores)
    viz.save(figure, run.picture("comparison.png"))
    figure = pictures.confusion(judged.scores, data.classes)
    viz.save(figure, run.picture("confusion.png"))
    for picture, predicted in zip(data.pictures, judged.predictions, strict=True):
        save_labels(run.path(f"predictions/{picture.id}.png"), predicted, data.labels.palette)
    return {
        "data": data.name,
        "split": data.split,
        "images": len(data.pictures),
        **judged.figures,
    }


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Score trained weights, or the shipped ones, on a split of any data set."""

    data: str = "scenes"
    """scenes or scenes-mnist (embedded), camvid, voc2007, voc2012, or a folder of your own."""

    split: Literal["train", "val", "test"] = "test"
    """The split to score; choices are made on val."""

    count: int | None = None
    """Score only so many pictures, the first ones."""


def main(options: Options) -> dict[str, Any]:
    """Score, draw, and write everything to the run folder."""
    need_positive(options, "count")
    segmenter = load_segmenter(options.data, options.weights)
    segmenter.net.to(resolve_device(options.device))
    data = load(options.data, options.split, count=options.count, data_root=options.data_root)
    run = Run.create(options.out, "segmentation", "evaluate", options)
    return run.finish(report(run, data, judge(segmenter, data)))


if __name__ == "__main__":
    run_command(main, Options)
