"""The pictures that the commands make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core import viz
from core.data.dataset import ArrayDataset
from core.data.images import Picture
from dcgan.artist import Artist, noise
from dcgan.latent import arithmetic, centre, slerp, walk
from dcgan.metrics import features

_BETWEEN = 9
_GROUP = 3  # points whose mean is taken in the arithmetic, as in the paper
_DRAWN = 96  # samples that traits are looked for in
_CANDIDATES = 50
_AT_ONCE = 5000
_MAPS_AT_ONCE = 100


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


def sums(artist: Artist, seed: int) -> Figure:
    """a - b + c of the means of three points each, and what each of the three looks like.

    As the paper's men with glasses: samples are drawn, those with most of one trait are a, of a
    middling one b, those with most of another trait c. The result should have both.
    """
    pictures: list[Picture] = []
    titles: list[str] = []
    told = artist.labels(4)
    for row, signs in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
        points = noise(_DRAWN, artist.generator.latent, (seed, 3, row))
        labels = None if told is None else np.repeat(told[row], _DRAWN)
        traits = traits_of(np.stack(artist.draw(points, labels)))
        names = [
            trait.more if sign > 0 else trait.less
            for trait, sign in zip(traits, signs, strict=True)
        ]
        first, second = (
            points[np.argsort(sign * trait.values)]
            for trait, sign in zip(traits, signs, strict=True)
        )
        middle = (_DRAWN - _GROUP) // 2
        groups = first[-_GROUP:], first[middle : middle + _GROUP], second[-_GROUP:]
        means = np.stack([*map(centre, groups), arithmetic(*groups)])
        pictures += artist.draw(means, None if labels is None else labels[:4])
        titles += [names[0], "- middling", f"+ {names[1]}", "="]
    return viz.image_grid(pictures, titles, columns=4, size=1.3)


class Trait(NamedTuple):
    """A measure of samples, and what those with more of it and with less are called."""

    values: NDArray[np.float64]
    more: str
    less: str


def traits_of(samples: NDArray[np.uint8]) -> tuple[Trait, Trait]:
    """Two traits of pictures, grey (N, S, S) or (N, S, S, 3).

    Grey ones are bold or thin, and lean to the right or left: how far a row's ink is shifted as
    rows go up, by the moments of the ink. Coloured ones are bright or dark, warm (red) or cold.
    """
    values = samples.astype(np.float64)
    if values.ndim == 4:
        warmth = (values[..., 0] - values[..., 2]).mean(axis=(1, 2))
        return Trait(values.mean(axis=(1, 2, 3)), "bright", "dark"), Trait(warmth, "warm", "cold")
    ink = values.sum(axis=(1, 2)) + 1e-9
    down, across = np.mgrid[: values.shape[1], : values.shape[2]]
    y, x = (place - (values * place).sum(axis=(1, 2))[:, None, None] / ink[:, None, None]
            for place in (down, across))  # fmt: skip
    lean = -(values * x * y).sum(axis=(1, 2)) / ((values * y**2).sum(axis=(1, 2)) + 1e-9)
    return Trait(ink, "bold", "thin"), Trait(lean, "leaning right", "leaning left")


def neighbours(samples: Sequence[Picture], real: NDArray[np.uint8], *, count: int = 8) -> Figure:
    """Samples, each beside the three training pictures (N, C, S, S) with the nearest features.

    They are looked for among the fifty with the nearest pixels, mirrored or not: of all pictures,
    for a copy of any would be one of those.
    """
    shown = list(samples[:count])
    near = _nearest_pixels(np.stack(shown), real)
    known = features([as_picture(real[i]) for i in near.ravel()]).reshape(*near.shape, -1)
    pictures, titles = [], []
    for sample, row, places, others in zip(shown, features(shown), near, known, strict=True):
        distances = np.linalg.norm(others - row, axis=1)
        nearest = np.argsort(distances)[:3]
        pictures += [sample, *(as_picture(real[places[i]]) for i in nearest)]
        titles += ["sample", *(f"{distances[i]:.1f}" for i in nearest)]
    title = "samples and the nearest training pictures (distance of features)"
    return viz.image_grid(pictures, titles, columns=8, size=1.1, title=title)


def as_picture(image: NDArray[np.uint8]) -> Picture:
    """A picture (C, S, S) as (S, S) or (S, S, 3)."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def _nearest_pixels(samples: NDArray[np.uint8], real: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Which of the pictures (N, C, S, S) are nearest to each sample or to its mirror image.

    Samples are (n, S, S) or (n, S, S, 3), the result is (n, 50), the nearest first.
    """
    planes = samples[:, None] if samples.ndim == 3 else samples.transpose(0, 3, 1, 2)
    both = np.stack([planes, planes[..., ::-1]]).reshape(2 * len(samples), -1).astype(np.float32)
    found = np.empty((len(samples), len(real)), np.float32)
    for start in range(0, len(real), _AT_ONCE):
        rows = real[start : start + _AT_ONCE].reshape(-1, both.shape[1]).astype(np.float32)
        # A sample's own length is the same for all.
        distances = (rows**2).sum(axis=1) - 2 * both @ rows.T
        nearer = distances.reshape(2, len(samples), -1).min(axis=0)
        found[:, start : start + len(rows)] = nearer
    return np.argsort(found, axis=1)[:, :_CANDIDATES]


def filters(artist: Artist, real: ArrayDataset, *, count: int = 6, each: int = 8) -> Figure:
    """What filters of the discriminator's last layer respond to: the real pictures that excite
    them most.

    Raises ValueError for an artist without a discriminator.
    """
    strength = np.concatenate(
        [
            artist.maps(real.images[part], real.labels[part])[-1].numpy().max(axis=(2, 3))
            for part in (slice(i, i + _MAPS_AT_ONCE) for i in range(0, len(real), _MAPS_AT_ONCE))
        ]
    )
    # Filters that tell pictures apart, not those that are always on.
    chosen = np.argsort(-strength.std(axis=0))[:count]
    pictures, titles = [], []
    for place in chosen:
        best = np.argsort(-strength[:, place])[:each]
        pictures += [as_picture(real.images[i]) for i in best]
        titles += [f"filter {place}", *[""] * (each - 1)]
    title = "real pictures that excite a filter of the discriminator most"
    return viz.image_grid(pictures, titles, columns=each, size=1.0, title=title)
