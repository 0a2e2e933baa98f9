"""Train a generator against a discriminator, by one of dcgan.recipes or by flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import core
from core import recipes, viz
from core.cli import CommonOptions, resolve_device, run_command
from core.data import augment
from core.data.dataset import ArrayDataset
from core.data.images import Picture, read_image, save_image
from core.data.loader import DataLoader
from core.data.rng import Draws
from core.training.run import METRICS, Run, read_metrics
from dcgan import pictures
from dcgan.artist import Artist
from dcgan.data import load, to_network
from dcgan.evaluate import SAMPLES, need_count, need_difference, report
from dcgan.metrics import diversity
from dcgan.recipes import RECIPES, Recipe
from dcgan.training import WATCHED, Duel

NETWORK = "network.safetensors"
FRAMES = "frames"
_ON_THE_CARD = ("distance_over_floor", "precision", "recall")


@dataclass(frozen=True, kw_only=True)
class Options(Recipe, CommonOptions):
    """Train a generator; the run folder then holds network.safetensors for --weights."""

    # Nothing depends on how many epochs there will be: a finished training can go on.
    CHANGEABLE: ClassVar[frozenset[str]] = CommonOptions.CHANGEABLE | {"samples", "epochs"}

    recipe: str = "digits"
    """Recipe, one of dcgan.recipes.RECIPES; the flags change single settings of it."""

    samples: int = SAMPLES
    """Samples to measure at the end, and real pictures in each half."""

    count: int | None = None
    """Use only so many training pictures."""

    resume: bool = False
    """Continue the run in the folder as if it had not stopped, a finished one up to --epochs."""

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        CommonOptions.__post_init__(self)
        self.refuse_float16()
        if self.weights is not None:
            raise ValueError("--weights: a training starts from random weights, or with --resume")
        need_count("--samples", self.samples)
        if self.count is not None and self.count < self.batch_size:
            raise ValueError(f"--count is {self.count}; expected {self.batch_size}, one batch")


def main(options: Options) -> dict[str, Any]:
    """Train, measure, and write everything to the run folder; returns the summary."""
    data = pictures_of(options)
    run = Run.create(options.out, "dcgan", "train", options)
    artist, figures = train(run, options, data)
    found = report(run, artist, data, options.data, options.samples, options.seed)
    metrics = {name: float(found[name]) for name in found if name in _ON_THE_CARD}
    artist.save(run.path(NETWORK), metrics=metrics, seed=options.seed, half=True)
    return run.finish({**found, **figures})


def pictures_of(options: Options) -> ArrayDataset:
    """The training pictures. Raises ValueError when there are not enough for one batch."""
    data = load(options.data, "train", options.size, data_root=options.data_root)
    if options.count is not None:
        # Of all classes: folders come class by class.
        data = data.subset(np.random.default_rng(0).permutation(len(data))[: options.count])
    least = max(options.batch_size, 16)
    if len(data) < least:
        raise ValueError(f"{options.data} has {len(data)} pictures; expected {least} or more")
    need_difference(data)
    return data


def train(run: Run, options: Options, data: ArrayDataset) -> tuple[Artist, dict[str, Any]]:
    """Train on the pictures; the networks, which are in the run folder as well."""
    core.seed(options.seed)
    artist = Artist.new(
        options.network_options(data.images.shape[1], len(data.classes)),
        classes=data.classes,
        data=options.data,
    )
    device = resolve_device(options.device)
    for network in artist.networks().values():
        network.to(device)

    def frame_of(epoch: int) -> Path:
        return run.path(f"{FRAMES}/{epoch:04d}.png")

    def keep(epoch: int, samples: Sequence[Picture]) -> None:
        save_image(frame_of(epoch), pictures.sheet(samples))

    duel = Duel(
        artist=artist,
        loader=loader(data, options),
        recipe=options,
        seed=options.seed,
        real_diversity=diversity(to_network(data.images[:WATCHED])),
        run=run,
        on_epoch_end=keep,
        title=f"dcgan on {options.data}",
    )
    duel.fit(options.epochs, resume=options.resume)
    with duel.drawing():
        artist.save(run.path(NETWORK), seed=options.seed, half=True)
    frames = [frame for epoch in range(duel.epoch) if (frame := frame_of(epoch + 1)).is_file()]
    viz.save_animation([read_image(frame) for frame in frames], run.picture("training.gif"))
    lines = read_metrics(run.path(METRICS))
    viz.save(viz.curves(lines, ("d_loss", "g_loss", "real", "made")), run.picture("curves.png"))
    # All figures are those of the rounded weights, which is what is kept.
    figures = {
        "epochs": duel.epoch,
        "parameters": sum(net.num_parameters() for net in artist.networks().values()),
    }
    return Artist.load(run.path(NETWORK)), figures


def loader(data: ArrayDataset, options: Options) -> DataLoader:
    """Shuffled batches of whole size: pictures of -1 to 1, and their labels."""
    return DataLoader(
        data,
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        drop_last=True,
        transform=_Scaled(options.flip),
    )


class _Scaled:
    """The loader's transform: to the range of tanh, mirrored or not."""

    def __init__(self, flip: bool) -> None:
        self._change = augment.Compose([augment.RandomHorizontalFlip()] if flip else [])

    def __call__(
        self, batch: tuple[NDArray[np.uint8], NDArray[np.int64]], draws: Draws
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images, labels = batch
        return to_network(self._change(augment.Batch(images), draws).images), labels


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "digits", RECIPES))
