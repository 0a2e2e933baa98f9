"""Train an R-CNN from scratch: proposals, fine-tuning, SVMs, box regression."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

import core
from core import optim, viz
from core.cli import TrainingOptions, resolve_device, run_command
from core.data.cache import ArrayCache
from core.data.loader import DataLoader, workers_for
from core.io.weights import Card
from core.options import need_positive
from core.training.run import Run
from core.training.trainer import Trainer, classification, evaluate
from detection import pictures
from detection.coco import to_coco, write_coco
from detection.data import DataName, DetectionData, load
from detection.detector import Detector
from detection.evaluate import detect_all, judge, recall_table, thresholds
from detection.fit import Prepared, fit_heads, prepare
from detection.metrics import evaluate as evaluate_detections
from detection.network import RegionNet
from detection.proposals import proposal_cache, proposals_for
from detection.recipe import RECIPES, Recipe
from detection.regions import RegionBatches, content_key

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]

DETECTOR = "detector.safetensors"
STEPS_PER_EPOCH = 200
UNUSED_SECONDS = 3600


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Train a detector; the run folder then holds detector.safetensors for --weights."""

    CHANGEABLE: ClassVar[frozenset[str]] = TrainingOptions.CHANGEABLE | {"cache", "score"}

    data: DataName = "scenes"
    """The data set: embedded scenes, BCCD or Pascal VOC."""

    epochs: int = 12
    """Epochs of fine-tuning, of 200 batches each."""

    batch_size: int = 128
    """Regions in one batch; a quarter are objects."""

    lr: float = 0.05
    """Learning rate at the start; it falls along a cosine."""

    score: Literal["val", "test"] = "test"
    """The split to score at the end; recipes are chosen on val."""

    count: int | None = None
    """Use only so many training pictures, the first ones."""

    cache: Path | None = None
    """Folder for proposals and features; by default in the user's cache."""

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "count")
        if self.batch_size < 4:
            raise ValueError(f"--batch-size is {self.batch_size}; expected 4 or more")
        if self.weights is not None:
            raise ValueError("--weights: a detector is trained from random weights; leave it out")


def main(options: Options) -> None:
    """Train, choose thresholds on val, score once, and write everything to the run folder."""
    # A split that is missing must not be found out when hours are over.
    scored = _load(options, options.score)
    run = Run.create(options.out, "detection", "train", options)
    finish(run, options, scored, train(run, options))


def train(run: Run, options: Options) -> Detector:
    """All stages on the data set of the options; the detector is in the run folder as well."""
    data = _load(options, "train", options.count)
    return learn(run, data, _load(options, "val"), RECIPES[options.data], options)


def learn(
    run: Run, data: DetectionData, held_out: DetectionData, recipe: Recipe, options: Options
) -> Detector:
    """All stages on any annotated pictures.

    `held_out` is watched during fine-tuning and chooses the thresholds. `options` gives the
    epochs, the batch size, the learning rate, the seed and the cache.
    """
    core.seed(options.seed)
    proposals = _proposals(data, recipe, options)
    recall = recall_table(data, proposals)
    print(f"{len(data.pictures)} pictures; recall of proposals: {_shown(recall)}", flush=True)
    prepared = prepare(data, proposals)
    held_out_proposals = _proposals(held_out, recipe, options)
    watched = _watched_batches(prepare(held_out, held_out_proposals), len(data.classes), recipe)
    net = RegionNet(len(data.classes), recipe.crop, recipe.width)
    net.to(resolve_device(options.device))
    fine_tune(net, prepared, watched, recipe, run, options)
    features = _feature_cache(net, data, recipe, options)
    svm, regressor = fit_heads(
        net, prepared, recipe, len(data.classes), cache=features, seed=options.seed
    )
    detector = Detector(data.classes, net, svm, regressor, recipe, data=data.name)
    # The thresholds and all figures are those of the rounded weights, which is what is kept.
    detector.save(run.path(DETECTOR), half=True)
    detector = Detector.load(run.path(DETECTOR))
    detector.net.to(resolve_device(options.device))
    mean_ap = _choose_thresholds(detector, held_out, held_out_proposals)
    metrics = json.dumps({"val_mAP@0.5": round(mean_ap, 4)})
    detector.save(run.path(DETECTOR), {"seed": str(options.seed), "metrics": metrics}, half=True)
    return detector


def fine_tune(
    net: RegionNet,
    prepared: Prepared,
    watched: Sequence[Batch],
    recipe: Recipe,
    run: Run,
    options: Options,
) -> None:
    """Teach the network to tell objects and background apart, from random weights.

    The figures of the batches `watched` are shown after every epoch.
    """
    classes = net.head.weight.shape[0] - 1
    batches = RegionBatches(
        prepared.pictures,
        prepared.regions,
        classes,
        recipe,
        steps=STEPS_PER_EPOCH,
        batch_size=options.batch_size,
    )
    loader = DataLoader(
        batches,
        seed=options.seed,
        transform=batches.make,
        collate=lambda items: np.array(items),
        workers=workers_for(net.head.weight.device),
    )
    optimizer = optim.SGD(net.parameters(), lr=options.lr, momentum=0.9, weight_decay=5e-4)
    schedule = optim.CosineAnnealingLR(optimizer, T_max=options.epochs * STEPS_PER_EPOCH)
    trainer = Trainer(
        model=net,
        optimizer=optimizer,
        loader=loader,
        graph=True,
        evaluate=lambda: evaluate(net, watched, classification),
        schedule=schedule,
        schedule_per="step",
        run=run,
        card=Card(architecture="rcnn-network"),
        title="fine-tuning",
    )
    trainer.fit(options.epochs, resume=options.resume)


def finish(run: Run, options: Options, data: DetectionData, detector: Detector) -> dict[str, Any]:
    """Score the detector on `data`, draw, and write predictions and the summary."""
    proposals = _proposals(data, detector.recipe, options)
    judged = judge(detector, data, proposals)
    write_coco(
        run.path("predictions.json"), to_coco(judged.predictions, [p.id for p in data.pictures])
    )
    drawn = [detector.confident(found) for found in judged.predictions]
    viz.save(pictures.detections(data, drawn), run.picture("detections.png"))
    viz.save(pictures.proposals(data, proposals), run.picture("proposals.png"))
    viz.save(pictures.precision_recall(judged, data.classes), run.picture("precision_recall.png"))
    return run.finish(
        {
            "data": data.name,
            "split": data.split,
            "images": len(data.pictures),
            **judged.figures,
            "proposal recall": recall_table(data, proposals),
            "seed": options.seed,
        }
    )


def _load(options: Options, split: str, count: int | None = None) -> DetectionData:
    data = load(options.data, split, count=count, data_root=options.data_root)
    for problem in data.problems:
        print(f"skipped: {problem}", flush=True)
    return data


def _cache_folder(options: Options) -> Path:
    if options.cache is not None:
        return options.cache
    from pooch import os_cache

    return Path(os_cache("openbook")) / "detection"


def _proposals(data: DetectionData, recipe: Recipe, options: Options) -> list[NDArray[np.float32]]:
    """The proposals of every picture, from the cache where it has them."""
    cache = proposal_cache(
        _cache_folder(options) / "proposals", f"{data.name}/{data.split}", recipe.proposals
    )
    readers = [picture.read for picture in data.pictures]
    keys = [content_key(picture) for picture in data.pictures]
    return proposals_for(
        readers, recipe.proposals, workers=os.cpu_count() or 1, cache=cache, keys=keys
    )


def _feature_cache(
    net: RegionNet, data: DetectionData, recipe: Recipe, options: Options
) -> ArrayCache:
    """The features of this network; those that earlier ones left on the same data are removed."""
    digest = hashlib.sha256()
    for array in net.state_dict().values():
        digest.update(np.ascontiguousarray(array).tobytes())
    settings = {
        "what": "features",
        "recipe": asdict(recipe),
        "network": digest.hexdigest(),
        "seed": options.seed,
    }
    folder = _cache_folder(options) / "features" / data.name
    cache = ArrayCache(folder, settings)
    for other in folder.iterdir():
        if other != cache.folder:
            _remove_unused(other)
    return cache


def _remove_unused(features: Path) -> None:
    """Remove the features of an earlier network, unless a training beside this one writes them.

    A set takes hundreds of megabytes, and no other network will ask for it.
    """
    with suppress(FileNotFoundError):
        if time.time() - features.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(features, ignore_errors=True)


def _watched_batches(prepared: Prepared, classes: int, recipe: Recipe) -> list[Batch]:
    """Eight batches of held-out regions, the same after every epoch."""
    from core.data.rng import Draws

    batches = RegionBatches(prepared.pictures, prepared.regions, classes, recipe, steps=8)
    return [batches.make(np.array([b]), Draws(0, 0, np.array([b]))) for b in range(8)]


def _choose_thresholds(
    detector: Detector, data: DetectionData, proposals: Sequence[NDArray[np.float32]]
) -> float:
    """Give each class the threshold with the best F1 on these pictures; their mAP@0.5."""
    found = [detector.decide(looked) for looked in detect_all(detector, data, proposals)]
    result = evaluate_detections(found, data.truth(), len(data.classes))
    print(f"validation mAP@0.5: {result.mean_ap:.4f}", flush=True)
    detector.thresholds = thresholds(result)
    return result.mean_ap


def _shown(recall: dict[str, float]) -> str:
    return ", ".join(f"{name}: {value:.3g}" for name, value in recall.items())


if __name__ == "__main__":
    run_command(main, Options)
