"""Train a small network on the embedded digits and show what it learned, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import core
from core import optim
from core.cli import TrainingOptions, run_command
from core.data import ArrayDataset, DataLoader, embedded_digits
from core.io import weights
from core.models import SimpleConvNet
from core.training.classifier import augmented, first_filters, report, scaled
from core.training.run import Run
from core.training.trainer import Trainer, classification, evaluate

EPOCHS = 40
PROMISED_ACCURACY = 0.97


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Handwritten digits of 8 x 8 pixels: 1,437 to learn from, 360 to be tested on."""

    epochs: int = EPOCHS
    """How many times to go through the training set."""

    batch_size: int = 50
    """Samples in one step."""

    lr: float = 0.006
    """Learning rate at the start; it falls to zero along a cosine."""


def main(options: Options) -> dict[str, Any]:
    """Train, score and draw; returns the summary.

    Raises RuntimeError when fewer test digits are right than promised.
    """
    core.seed(options.seed)
    train, held_out = embedded_digits("train").split([1293, 144])
    test = embedded_digits("test")
    run = Run.create(options.out, "core", "demo", options)
    # Small weights, so that the picture of the filters shows what was learned, not the start.
    model = SimpleConvNet(image_size=8, padding=2, weight_std=0.01)
    if options.weights is not None:
        weights.load_model(model, options.weights)
    model.to(options.device)
    print(f"{model}\n{model.num_parameters():,} parameters")
    before = first_filters(model)
    trainer = _trainer(options, model, train, held_out, run)
    trainer.fit(options.epochs, resume=options.resume)
    trainer.restore_best()
    figures = report(run, model, test, title="SimpleConvNet on digits", filters_before=before)
    summary = run.finish({**figures, "promised": PROMISED_ACCURACY})
    if options.epochs >= EPOCHS and figures["accuracy"] < PROMISED_ACCURACY:
        raise RuntimeError(
            f"accuracy {figures['accuracy']:.3f} on the test digits is below the promised "
            f"{PROMISED_ACCURACY}"
        )
    return summary


def _trainer(
    options: Options, model: SimpleConvNet, train: ArrayDataset, held_out: ArrayDataset, run: Run
) -> Trainer:
    optimizer = optim.Adam(model.parameters(), lr=options.lr)
    loader = DataLoader(
        train, options.batch_size, shuffle=True, seed=options.seed, transform=augmented
    )
    validation = DataLoader(held_out, len(held_out), transform=scaled)
    return Trainer(
        model=model,
        optimizer=optimizer,
        loader=loader,
        evaluate=lambda: evaluate(model, validation, classification),
        schedule=optim.CosineAnnealingLR(optimizer, options.epochs * len(loader)),
        schedule_per="step",
        monitor="loss",
        mode="min",
        run=run,
        card=weights.Card(
            architecture="simple_convnet",
            classes=train.classes,
            data="digits",
            seed=options.seed,
            extra={"options": '{"padding": 2}'},
        ),
    )


if __name__ == "__main__":
    run_command(main, Options)
