"""Look for a learning rate and weight decay at random, and draw the best trials (book, 6.5)."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import core
from core import recipes, viz
from core.cli import run_command
from core.data.dataset import ArrayDataset
from core.options import need_positive
from core.recipes import RecipeOptions
from core.training import assemble
from core.training.parts import finished_parts, parts
from core.training.progress import Progress
from core.training.run import METRICS, Run, read_metrics
from core.training.trainer import Figures

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    """Trials of a few epochs on a few samples; the test set is not touched."""

    trials: int = 100
    """How many pairs of learning rate and weight decay to try."""

    samples: int = 500
    """Training pictures that each trial learns from."""

    val_samples: int = 500
    """Held-out training pictures that it is judged on."""

    lr_range: tuple[float, float] = (1e-6, 1e-2)
    """Learning rates, drawn evenly on a logarithmic scale."""

    weight_decay_range: tuple[float, float] = (1e-8, 1e-4)
    """Weight decays, drawn likewise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "trials", "samples", "val_samples")
        for flag, (low, high) in (
            ("--lr-range", self.lr_range),
            ("--weight-decay-range", self.weight_decay_range),
        ):
            if not (0 < low <= high and math.isfinite(high)):
                raise ValueError(f"{flag} is {low} {high}; expected a range above 0")


def _refuse_unused(options: Options) -> None:
    """Raise ValueError for a setting that each trial draws or begins anew."""
    if options.weights is not None:
        raise ValueError("--weights: every trial begins with new weights; leave it out")
    recipe = recipes.RECIPES[options.recipe]
    for name in ("lr", "weight_decay"):
        if getattr(options, name) != getattr(recipe, name):
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag}: it is what is looked for; {flag}-range says where")


def main(options: Options) -> dict[str, Any]:
    """Run the trials that are not done yet, draw them; returns the summary."""
    _refuse_unused(options)
    run = Run.create(options.out, "core", "search", options)
    train, held_out = assemble.hold_out(assemble.dataset(options, "train", options.data_root))
    train, held_out = _some(train, options.samples), _some(held_out, options.val_samples)
    done = finished_parts(run) if options.resume else 0
    with Progress(epochs=options.trials, steps_per_epoch=1, done=done) as progress:
        for number in parts(run, done, options.trials):
            trial = _trial(options, number, train, held_out)
            progress.step()
            run.log(number, trial)
            progress.note(
                f"trial {number}/{options.trials}: lr {trial['lr']:.3g}, weight decay "
                f"{trial['weight_decay']:.3g}, val_accuracy {trial['val_accuracy']:.3f}"
            )
    return _report(run)


def _some(pictures: ArrayDataset, samples: int) -> ArrayDataset:
    if samples >= len(pictures):
        return pictures
    return pictures.split([samples, len(pictures) - samples], seed=0)[0]


def _trial(
    options: Options, number: int, train: ArrayDataset, held_out: ArrayDataset
) -> dict[str, Any]:
    """Train once; the figures of the last epoch and the course of the accuracies."""
    rng = np.random.default_rng((options.seed, number))
    recipe = replace(
        options,
        lr=_log_uniform(rng, options.lr_range),
        weight_decay=_log_uniform(rng, options.weight_decay_range),
    )
    # All trials start from the same weights: what differs is what is looked for.
    core.seed(options.seed)
    model = assemble.network(recipe, train).to(options.device)
    trainer = assemble.trainer(recipe, model, train, held_out, seed=options.seed)
    trainer.stream = io.StringIO()  # a hundred trainings side by side would say little
    course: dict[str, list[float]] = {"accuracy": [], "val_accuracy": []}

    def record(epoch: int, figures: Figures) -> None:
        for name, values in course.items():
            values.append(figures[name])

    trainer.on_epoch_end.append(record)
    failed = None
    try:
        trainer.fit(recipe.epochs)
    except RuntimeError as error:
        failed = str(error)
    return {
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "val_accuracy": course["val_accuracy"][-1] if failed is None else 0.0,
        "course": course,
        "failed": failed,
    }


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _report(run: Run) -> dict[str, Any]:
    """Draw the search and write its summary: the best trial, and where the best five lie."""
    trials = read_metrics(run.path(METRICS))
    ranked = sorted(trials, key=lambda trial: -trial["val_accuracy"])
    viz.save(viz.search_curves(ranked[:_SHOWN]), run.picture("best.png"))
    viz.save(viz.search_map(trials), run.picture("map.png"))
    top = ranked[:5]
    return run.finish(
        {
            "trials": len(trials),
            "val_accuracy": ranked[0]["val_accuracy"],
            "lr": ranked[0]["lr"],
            "weight_decay": ranked[0]["weight_decay"],
            "best_lrs": [min(t["lr"] for t in top), max(t["lr"] for t in top)],
            "best_weight_decays": [
                min(t["weight_decay"] for t in top),
                max(t["weight_decay"] for t in top),
            ],
        }
    )


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "search-mnist"))
