"""The pictures that the commands make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core import viz
from core.data.images import Picture
from dcgan.artist import Artist, noise
from dcgan.latent import arithmetic, centre, slerp, walk
from dcgan.metrics import features

_BETWEEN = 9
_GROUP = 3  # points whose mean is taken in the arithmetic, as in the paper


def sheet(pictures: Sequence[Picture], columns: int | None = None, gap: int = 2) -> Picture:
    """Pictures of one size, (S, S) or (S, S, 3), in rows on white: one uint8 picture."""
    stack = np.stack(
        [one if one.ndim == 3 else np.repeat(one[..., None], 3, 2) for one in pictures]
    )
    count, height, width, _ = stack.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    whole = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for number, picture in enumerate(stack):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        whole[top : top + height, left : left + width] = picture
    return whole


def interpolation(artist: Artist, seed: int, *, rows: int = 6) -> Picture:
    """From one point to another, row by row, along the great circle."""
    ends = noise(2 * rows, artist.generator.latent, (seed, 1))
    shares = np.linspace(0, 1, _BETWEEN)
    points = np.concatenate([slerp(ends[2 * i], ends[2 * i + 1], shares) for i in range(rows)])
    labels = artist.labels(rows)
    told = None if labels is None else np.repeat(labels, _BETWEEN)
    return sheet(artist.draw(points, told), _BETWEEN)


def tour(artist: Artist, seed: int, *, stops: int = 6, steps: int = 10) -> list[Picture]:
    """Frames of a walk through the latent space: sixteen samples that change at once."""
    starts = noise(16 * stops, artist.generator.latent, (seed, 2)).reshape(16, stops, -1)
    walks = np.stack([walk(points, steps) for points in starts], axis=1)
    told = artist.labels(16)
    return [sheet(artist.draw(points, told), 4) for points in walks]


def sums(artist: Artist, seed: int, *, rows: int = 4) -> Figure:
    """a - b + c of the means of three points each, and what each of the three looks like."""
    pictures: list[Picture] = []
    told = artist.labels(rows)
    for row in range(rows):
        labels = None if told is None else np.repeat(told[row], 4)
        groups = noise(3 * _GROUP, artist.generator.latent, (seed, 3, row)).reshape(3, _GROUP, -1)
        means = [centre(group) for group in groups]
        pictures += artist.draw(np.stack([*means, arithmetic(*groups)]), labels)
    return viz.image_grid(pictures, ["a", "b", "c", "a - b + c"] * rows, columns=4, size=1.3)


def neighbours(samples: Sequence[Picture], real: Sequence[Picture], *, count: int = 8) -> Figure:
    """Samples, each beside the three training pictures with the nearest features."""
    shown = list(samples[:count])
    known, own = features(list(real)), features(shown)
    pictures, titles = [], []
    for sample, row in zip(shown, own, strict=True):
        distances = np.linalg.norm(known - row, axis=1)
        nearest = np.argsort(distances)[:3]
        pictures += [sample, *(real[i] for i in nearest)]
        titles += ["sample", *(f"{distances[i]:.1f}" for i in nearest)]
    title = "samples and the nearest training pictures (distance of features)"
    return viz.image_grid(pictures, titles, columns=8, size=1.1, title=title)


def filters(artist: Artist, real: NDArray[np.uint8], *, count: int = 6, each: int = 8) -> Figure:
    """What filters of the discriminator's last layer respond to: the real pictures that excite
    them most (N, C, S, S).

    Raises ValueError for an artist without a discriminator.
    """
    maps = artist.maps(real, artist.labels(len(real)))[-1]
    strength = maps.numpy().max(axis=(2, 3))
    # Filters that tell pictures apart, not those that are always on.
    chosen = np.argsort(-strength.std(axis=0))[:count]
    pictures, titles = [], []
    for place in chosen:
        best = np.argsort(-strength[:, place])[:each]
        pictures += [real[i, 0] if real.shape[1] == 1 else real[i].transpose(1, 2, 0) for i in best]
        titles += [f"filter {place}", *[""] * (each - 1)]
    title = "real pictures that excite a filter of the discriminator most"
    return viz.image_grid(pictures, titles, columns=each, size=1.0, title=title)
