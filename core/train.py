"""Train a network by one of core.recipes on MNIST, Fashion-MNIST, CIFAR-10 or embedded digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import core
from core import recipes
from core.cli import run_command
from core.io import weights
from core.recipes import RecipeOptions
from core.training import assemble
from core.training.classifier import first_filters, report
from core.training.run import Run


@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    """The best epoch is chosen on held-out training pictures; the test set is scored once."""


def main(options: Options) -> dict[str, Any]:
    """Train, keep the best epoch, score it on the test set; returns the summary."""
    core.seed(options.seed)
    test = assemble.dataset(options, "test", options.data_root)
    train, held_out = assemble.hold_out(assemble.dataset(options, "train", options.data_root))
    run = Run.create(options.out, "core", "train", options)
    model = assemble.network(options, train)
    if options.weights is not None:
        weights.load_model(model, options.weights)
    model.to(options.device)
    before = first_filters(model)
    trainer = assemble.trainer(options, model, train, held_out, seed=options.seed, run=run)
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


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "plain"))
