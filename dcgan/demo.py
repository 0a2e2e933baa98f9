"""Draw handwritten digits that nobody wrote: samples, a walk between them, how real they are."""

from __future__ import annotations

from dataclasses import dataclass

from core import recipes
from core.cli import CommonOptions, resolve_device, run_command
from core.training.run import Run
from dcgan.artist import Artist, load_artist
from dcgan.data import load
from dcgan.evaluate import need_fit, report
from dcgan.recipes import RECIPES
from dcgan.train import Options as TrainingOptions
from dcgan.train import pictures_of, train

RECIPE = "digits"
PROMISED = 3.0
_COUNT = 700  # half of the embedded digits


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Draw with the shipped weights, and measure what was drawn; nothing is downloaded."""

    train: bool = False
    """Train from scratch first, live on the embedded digits, instead of the shipped weights."""

    epochs: int | None = None
    """Epochs of the training, with --train; by default the recipe's."""

    resume: bool = False
    """Continue an unfinished --train in the folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train:
            self.refuse_float16()
        for flag, given in (("--resume", self.resume), ("--epochs", self.epochs is not None)):
            if given and not self.train:
                raise ValueError(f"{flag} is of a training: add --train")
        if self.weights is not None and self.train:
            raise ValueError(
                "--weights is used instead of training: leave out --train or --weights"
            )


def main(options: Options) -> None:
    """Draw, measure, and fail when the shipped weights miss what is promised."""
    artist = None if options.train else load_artist(RECIPE, options.weights)
    run = Run.create(options.out, "dcgan", "demo", options)
    if artist is None:
        artist = _train(run, options)
    for network in artist.networks().values():
        network.to(resolve_device(options.device))
    data = load("digits", "train", artist.generator.size)
    need_fit(artist, data)
    summary = run.finish(report(run, artist, data, "digits", _COUNT, options.seed))
    ratio = float(summary["distance_over_floor"])
    if options.weights is None and not options.train and ratio > PROMISED:
        raise RuntimeError(f"the distance is {ratio:.1f} times the floor; promised is {PROMISED}")


def _train(run: Run, options: Options) -> Artist:
    settings = recipes.options(
        TrainingOptions,
        RECIPE,
        RECIPES,
        seed=options.seed,
        device=options.device,
        epochs=RECIPES[RECIPE].epochs if options.epochs is None else options.epochs,
        resume=options.resume,
    )
    return train(run, settings, pictures_of(settings))[0]


if __name__ == "__main__":
    run_command(main, Options)
