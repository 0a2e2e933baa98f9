"""Measure a generator: distance to real pictures over its floor, and what it drew and knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import viz
from core.cli import CommonOptions, resolve_device, run_command
from core.data.dataset import ArrayDataset
from core.data.images import Picture, save_image
from core.training.run import Run
from dcgan import pictures
from dcgan.artist import Artist, load_artist, noise
from dcgan.data import load
from dcgan.metrics import (
    diversity,
    feature_space,
    features,
    frechet_distance,
    precision_recall,
)

SAMPLES = 2000
MOST = 10_000
_SHOWN = 64


def as_pictures(images: NDArray[np.uint8]) -> list[Picture]:
    """Pictures (N, C, S, S) as (S, S) or (S, S, 3)."""
    return [pictures.as_picture(one) for one in images]


def real_halves(data: ArrayDataset, count: int) -> tuple[list[Picture], list[Picture]]:
    """Two sets of `count` real pictures, or of half the data if it has fewer, none in both."""
    each = min(count, len(data) // 2)
    order = np.random.default_rng(0).permutation(len(data))
    return (
        as_pictures(data.images[order[:each]]),
        as_pictures(data.images[order[each : 2 * each]]),
    )


def measure(samples: Sequence[Picture], data: ArrayDataset, count: int = SAMPLES) -> dict[str, Any]:
    """How far samples are from real pictures, beside how far real pictures are from each other.

    As many samples as there are in each half of the real pictures are compared with the second
    half; the floor is the distance of the first.
    """
    first, second = (features(half) for half in real_halves(data, min(count, len(samples))))
    drawn = list(samples[: len(second)])
    made = features(drawn)
    distance, floor = frechet_distance(made, second), frechet_distance(first, second)
    precision, recall = precision_recall(second, made)
    return {
        "frechet_distance": distance,
        "floor": floor,
        "distance_over_floor": distance / floor,
        "precision": precision,
        "recall": recall,
        "samples": len(made),
        "feature_space": feature_space(data.images.shape[1]),
        "diversity": diversity(np.stack(drawn[:_SHOWN])) / diversity(data.images[:_SHOWN]),
    }


def report(
    run: Run, artist: Artist, data: ArrayDataset, name: str, count: int, seed: int
) -> dict[str, Any]:
    """Draw, measure what was drawn against the data set `name`, and write pictures to the run."""
    points = noise(count, artist.generator.latent, (seed, 0))
    samples = artist.draw(points, artist.labels(count))
    save_image(run.picture("samples.png"), pictures.sheet(samples[:_SHOWN]))
    save_image(run.picture("interpolation.png"), pictures.interpolation(artist, seed))
    viz.save_animation(pictures.tour(artist, seed), run.picture("walk.gif"), rest=False)
    viz.save(pictures.sums(artist, seed), run.picture("arithmetic.png"))
    viz.save(pictures.neighbours(samples, data.images), run.picture("neighbours.png"))
    if artist.discriminator is not None:
        some = np.random.default_rng(0).permutation(len(data))[:SAMPLES]
        viz.save(pictures.filters(artist, data.subset(some)), run.picture("filters.png"))
    told = {"trained_on": artist.data, "data": name, "seed": seed}
    return {**told, **measure(samples, data, count)}


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Measure trained weights, or the shipped ones, against the pictures they imitate."""

    data: str | None = None
    """digits (embedded), mnist, fashion-mnist, cifar-10, flowers, or a folder of pictures; by
    default what --weights were trained on."""

    count: int = SAMPLES
    """Samples to draw, and real pictures in each half."""

    svm: bool = False
    """Classify the data set by the discriminator's features, with a linear SVM."""

    def __post_init__(self) -> None:
        super().__post_init__()
        need_count("--count", self.count)


def need_count(flag: str, count: int) -> None:
    """Raise ValueError for fewer samples than can be measured, or more than are held at once."""
    if not 8 <= count <= MOST:
        raise ValueError(f"{flag} is {count}; expected 8 to {MOST}")


def main(options: Options) -> dict[str, Any]:
    """Measure, draw, and write everything to the run folder."""
    artist = load_artist(options.data or "digits", options.weights)
    name = options.data or artist.data
    size = artist.generator.size
    data = load(name, "train", size, data_root=options.data_root)
    need_fit(artist, data)
    for network in artist.networks().values():
        network.to(resolve_device(options.device))
    run = Run.create(options.out, "dcgan", "evaluate", options)
    if options.svm:
        from dcgan.svm import classify

        test = load(name, "test", size, data_root=options.data_root)
        return run.finish(classify(artist, data, test))
    return run.finish(report(run, artist, data, name, options.count, options.seed))


def need_fit(artist: Artist, data: ArrayDataset) -> None:
    """Raise ValueError when a generator draws pictures of other colours than the data's.

    Or when these are all alike, so that nothing can be compared with how they differ.
    """
    own, channels = artist.generator.channels, data.images.shape[1]
    if own != channels:
        raise ValueError(f"the weights draw {own} channels, the data's pictures have {channels}")
    need_difference(data)


def need_difference(data: ArrayDataset) -> None:
    """Raise ValueError when all pictures are the same."""
    if (data.images == data.images[:1]).all():
        raise ValueError(f"all {len(data)} pictures are the same; expected different ones")


if __name__ == "__main__":
    run_command(main, Options)
