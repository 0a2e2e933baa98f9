"""Train a network of the book on MNIST, Fashion-MNIST, CIFAR-10 or the embedded digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import core
from core import data, models, optim
from core.cli import TrainingOptions, run_command
from core.data.dataset import ArrayDataset, Split
from core.io import weights
from core.training.average import MovingAverage
from core.training.classifier import augmented, first_filters, report, scaled
from core.training.run import Run
from core.training.trainer import Trainer, classification, evaluate

_HELD_OUT = 5000
_EVALUATION_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """The best epoch is chosen on held-out training pictures; the test set is scored once."""

    data: Literal["mnist", "fashion-mnist", "cifar-10", "digits"] = "mnist"
    """Data set; digits are embedded, the others are looked for and downloaded."""

    model: Literal["simple_convnet", "deep_convnet", "mlp"] = "simple_convnet"
    """Network of the book."""

    epochs: int = 20
    """How many times to go through the training set."""

    augment: bool = False
    """Turn, shift and scale the training pictures a little."""

    average: float | None = None
    """Decay of a moving average of the weights, such as 0.999; it is then what is evaluated."""

    patience: int | None = None
    """Stop after so many epochs without a better one."""


def _digits(split: Split, data_root: Path | None) -> ArrayDataset:
    return data.embedded_digits(split)


_SETS: Mapping[str, Callable[[Split, Path | None], ArrayDataset]] = MappingProxyType(
    {
        "mnist": data.mnist,
        "fashion-mnist": data.fashion_mnist,
        "cifar-10": data.cifar10,
        "digits": _digits,
    }
)


def main(options: Options) -> dict[str, Any]:
    """Train, keep the best epoch, score it on the test set; returns the summary."""
    core.seed(options.seed)
    load = _SETS[options.data]
    test = load("test", options.data_root)
    train, held_out = _hold_out(load("train", options.data_root))
    run = Run.create(options.out, "core", "train", options)
    channels, size = train.images.shape[1:3]
    model = models.build(
        options.model, in_channels=channels, image_size=size, num_classes=len(train.classes)
    )
    if options.weights is not None:
        weights.load_model(model, options.weights)
    model.to(options.device)
    before = first_filters(model)
    trainer = _trainer(options, model, train, held_out, run)
    trainer.fit(options.epochs, resume=options.resume)
    trainer.restore_best()
    title = f"{options.model} on {options.data}"
    figures = report(run, model, test, title=title, filters_before=before)
    return run.finish(
        {
            **figures,
            "val_accuracy": trainer.best,
            "best_epoch": trainer.best_epoch,
            "parameters": model.num_parameters(),
        }
    )


def _hold_out(train: ArrayDataset) -> list[ArrayDataset]:
    """Training pictures without, and only, those that the best epoch is chosen on."""
    count = min(_HELD_OUT, len(train) // 10)
    # One seed for all runs: they are compared on the same pictures.
    return train.split([len(train) - count, count], seed=0)


def _trainer(
    options: Options,
    model: core.nn.Module,
    train: ArrayDataset,
    held_out: ArrayDataset,
    run: Run,
) -> Trainer:
    """The recipe: Adam, the learning rate falling to zero along a cosine."""
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    loader = data.DataLoader(
        train,
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        transform=augmented if options.augment else scaled,
    )
    validation = data.DataLoader(held_out, _EVALUATION_BATCH, transform=scaled)
    return Trainer(
        model=model,
        optimizer=optimizer,
        loader=loader,
        evaluate=lambda: evaluate(model, validation, classification),
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
        schedule_per="step",
        patience=options.patience,
        average=None if options.average is None else MovingAverage(model, options.average),
        run=run,
        card=weights.Card(
            architecture=options.model,
            classes=train.classes,
            data=options.data,
            seed=options.seed,
        ),
    )


if __name__ == "__main__":
    run_command(main, Options)
