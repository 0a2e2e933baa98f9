"""Train a network that labels every pixel, by one of segmentation.recipes or by flags."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

import core
from core import device as dev
from core import functional as F
from core import models, nn, recipes, viz
from core.cli import CommonOptions, resolve_device, run_command
from core.io import weights
from core.io.weights import Card
from core.options import need_positive
from core.tensor import Tensor
from core.training import assemble
from core.training.average import MovingAverage, update_bn
from core.training.run import METRICS, Run, read_metrics
from core.training.trainer import Figures, Trainer
from segmentation.batches import (
    Inputs,
    held_out_batches,
    statistics_batches,
    training_batches,
)
from segmentation.data import SegmentationData, load, median_frequency_weights
from segmentation.encoders import load_features
from segmentation.evaluate import judge, report
from segmentation.fcn import FCN, start_from_classifier
from segmentation.labels import VOID, Labels
from segmentation.metrics import Scores, confusion_matrix
from segmentation.networks import build, encoder_of, refuse_idle
from segmentation.recipes import RECIPES, Recipe
from segmentation.segmenter import Segmenter

NETWORK = "network.safetensors"


@dataclass(frozen=True, kw_only=True)
class Options(Recipe, CommonOptions):
    """Train a network; the run folder then holds network.safetensors for --weights."""

    CHANGEABLE: ClassVar[frozenset[str]] = CommonOptions.CHANGEABLE | {"score"}

    recipe: str = "scenes-unet"
    """Recipe, one of segmentation.recipes.RECIPES; the flags change single settings of it."""

    weights: Path | None = None
    """Weights (safetensors) to start from, where names and shapes are the same: the stage
    before."""

    score: Literal["val", "test"] = "test"
    """The split to score at the end; recipes are chosen on val."""

    count: int | None = None
    """Use only so many training pictures, the first ones."""

    resume: bool = False
    """Continue the unfinished run in the folder, as if it had not stopped."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        CommonOptions.__post_init__(self)
        need_positive(self, "count")


def main(options: Options) -> dict[str, Any]:
    """Train, score once, and write everything to the run folder; returns the summary."""
    test = load(options.data, options.score, data_root=options.data_root)
    run = Run.create(options.out, "segmentation", "train", options)
    segmenter, figures = train(run, options)
    return run.finish({**report(run, test, judge(segmenter, test)), **figures})


def train(run: Run, options: Options) -> tuple[Segmenter, dict[str, Any]]:
    """Train on the data set of the options; the network, which is in the run folder as well.

    The best epoch is the one with the best mIoU on the validation split.
    """
    core.seed(options.seed)
    data, held_out = (
        load(options.data, split, count=count, data_root=options.data_root)
        for split, count in (("train", options.count), ("val", None))
    )
    model = network(options, len(data.classes))
    model.to(resolve_device(options.device))
    balance = balance_of(options, data)
    trainer = _trainer(run, options, model, data, held_out, balance)
    trainer.fit(options.epochs, resume=options.resume)
    trainer.restore_best()
    # The moments that a training leaves behind are of many networks; these are of this one.
    update_bn(statistics_batches(data, options), model)
    segmenter, reached = _kept(run, options, model, data, held_out)
    figure = viz.curves(read_metrics(run.path(METRICS)), ("loss", "accuracy", "mIoU"))
    viz.save(figure, run.picture("curves.png"))
    return segmenter, {
        "val_mIoU": reached,
        "best_epoch": trainer.best_epoch,
        "parameters": model.num_parameters(),
        "seed": options.seed,
    }


def _kept(
    run: Run,
    options: Options,
    model: nn.Module,
    data: SegmentationData,
    held_out: SegmentationData,
) -> tuple[Segmenter, float]:
    """The network as its file has it, and the validation mIoU that it reaches so."""
    settings = options.network_options()
    trained = Segmenter(model, data.labels, options.model, settings, options.scale, data.name)
    # All figures are those of the rounded weights, which is what is kept.
    trained.save(run.path(NETWORK), half=True)
    segmenter = Segmenter.load(run.path(NETWORK))
    segmenter.net.to(resolve_device(options.device))
    reached = judge(segmenter, held_out).scores.mean_iou
    segmenter.save(run.path(NETWORK), metrics={"val_mIoU": reached}, seed=options.seed, half=True)
    return segmenter, reached


def network(options: Options, classes: int) -> nn.Module:
    """A new network, with the weights that the options say it starts from."""
    refuse_idle(options.model, options.network_options())
    model = build(options.model, classes, **options.network_options())
    if options.pretrained and options.weights is None:
        trained = models.pretrained(encoder_of(options.model), data_root=options.data_root).model
        if isinstance(model, FCN):
            start_from_classifier(model, trained)
        else:
            load_features(model.get_submodule("encoder"), trained)
    if options.weights is not None:
        new = start_from(model, options.weights)
        print(f"new, not in {options.weights}: {', '.join(new) or 'nothing'}", flush=True)
    return model


def start_from(model: nn.Module, path: Path) -> list[str]:
    """Load what `path` has under the model's names and in its shapes; the names that stay new.

    Raises ValueError when it has nothing of the model.
    """
    arrays, _ = weights.load(path)
    own = model.state_dict()
    known = {n: a for n, a in arrays.items() if n in own and a.shape == own[n].shape}
    if not known:
        raise ValueError(f"{path} has nothing of a {type(model).__name__}")
    model.load_state_dict({**own, **known})
    return [name for name in own if name not in known]


def balance_of(options: Options, data: SegmentationData) -> NDArray[np.float32] | None:
    """The weight of each class in the loss; None when all count the same."""
    if options.balance == "none":
        return None
    found = median_frequency_weights((labels for _, labels in data), len(data.classes))
    shown = zip(data.classes, found, strict=True)
    print("weights: " + ", ".join(f"{n} {w:.3g}" for n, w in shown), flush=True)
    return found


class PixelLoss:
    """The trainer's `Forward`: cross entropy and accuracy over all pixels but void.

    `balance` (C,) weighs the classes.
    """

    def __init__(self, balance: NDArray[np.float32] | None, label_smoothing: float = 0.0) -> None:
        self._balance: dev.Array | None = balance
        self._smoothing = label_smoothing

    def __call__(self, model: nn.Module, batch: Inputs) -> tuple[Tensor, Figures]:
        batch = tuple(dev.to_device(part, next(model.parameters()).device) for part in batch)
        loss, logits = self.of(model, batch)
        labels = batch[1]
        right = (logits.data.argmax(axis=1) == labels).sum()
        return loss, {"accuracy": right / (labels != VOID).sum().clip(1)}

    def of(self, model: nn.Module, batch: Inputs) -> tuple[Tensor, Tensor]:
        """The loss, and the logits (N, C, H, W)."""
        device = next(model.parameters()).device
        logits = model(Tensor(dev.to_device(batch[0], device)))
        if isinstance(batch[1], np.ndarray) and not _any_labelled(batch[1]):
            # The mean over no pixel is no number, and would end the training.
            return (logits * 0).mean(), logits
        loss = F.cross_entropy(
            logits,
            dev.to_device(batch[1], device),
            self._balance_on(device),
            VOID,
            label_smoothing=self._smoothing,
        )
        return loss, logits

    def _balance_on(self, device: str) -> dev.Array | None:
        if self._balance is not None and dev.device_of(self._balance) != device:
            self._balance = dev.to_device(self._balance, device)
        return self._balance


def _any_labelled(labels: Labels) -> bool:
    return bool((labels != VOID).any())


def watch(model: nn.Module, batches: Iterable[Inputs], forward: PixelLoss, classes: int) -> Figures:
    """Loss, accuracy and mIoU over held-out pictures, at the network's own scale."""
    was_training, matrix, losses = model.training, np.zeros((classes, classes), np.int64), []
    model.eval()
    with core.no_grad():
        for batch in batches:
            loss, logits = forward.of(model, batch)
            if _any_labelled(batch[1]):
                losses.append(loss.item())
            predicted = dev.to_host(logits.data.argmax(axis=1)).astype(np.uint8)
            matrix += confusion_matrix(batch[1], predicted, classes)
    model.train(was_training)
    figures = Scores(matrix).figures()
    return {
        "loss": float(np.mean(losses)) if losses else float("nan"),
        "accuracy": figures["global_accuracy"],
        "mIoU": figures["mIoU"],
    }


def _trainer(
    run: Run,
    options: Options,
    model: nn.Module,
    data: SegmentationData,
    held_out: SegmentationData,
    balance: NDArray[np.float32] | None,
) -> Trainer:
    device = next(model.parameters()).device
    batches = training_batches(data, options, options.seed, device)
    watched = held_out_batches(held_out, options)
    forward = PixelLoss(balance, options.label_smoothing)
    optimizer = assemble.optimizer(options, model)
    average = None
    if options.average is not None:
        average = MovingAverage(
            model, options.average, batches=lambda: statistics_batches(data, options)
        )
    return Trainer(
        model=model,
        optimizer=optimizer,
        loader=batches,
        forward=forward,
        evaluate=lambda: watch(model, watched, forward, len(data.classes)),
        graph=True,
        monitor="mIoU",
        schedule=assemble.schedule(options, optimizer, len(batches)),
        schedule_per="step",
        average=average,
        run=run,
        card=Card(
            architecture=options.model,
            classes=data.classes,
            data=data.name,
            seed=options.seed,
            extra={"options": json.dumps(options.network_options())},
        ),
        title=f"{options.model} on {data.name}",
    )


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "scenes-unet", RECIPES))
