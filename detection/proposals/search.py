"""Selective search: boxes that may hold an object, best guesses first (Uijlings et al. 2013)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.boxes import as_boxes, box_iou, clip_boxes_to_image, remove_small_boxes
from detection.proposals.grouping import hierarchy
from detection.proposals.regions import (
    colour_codes,
    describe,
    initial_regions,
    superpixels,
    texture_codes,
    to_colour_space,
)

Floats = NDArray[np.float32]

# To be raised whenever the same options give other boxes: it is part of the cache's settings.
VERSION = 2
SIGMA = 0.4
MIN_REGION = 20
MAX_REGIONS = 400
# Of two boxes that overlap more than this the later is dropped: it would reach hardly an object
# that the first does not, and takes the place of one that might.
NEAR_DUPLICATE = 0.75


@dataclass(frozen=True)
class Strategies:
    """The diversification of one mode: every combination in each half is one grouping.

    The first half is the paper's: regions of Felzenszwalb and Huttenlocher in several colour
    spaces, at several ``thresholds`` (their k), grouped by several ``similarities``. The second is
    ours: SLIC superpixels of several numbers and compactness, described in Lab.
    """

    colour_spaces: tuple[str, ...]
    thresholds: tuple[float, ...]
    similarities: tuple[str, ...]
    superpixel_counts: tuple[int, ...]
    compactness: tuple[float, ...]
    superpixel_similarities: tuple[str, ...]


MODES: dict[str, Strategies] = {
    "fast": Strategies(("hsv", "lab"), (50, 100), ("CTSF", "TSF"), (100, 200), (20,), ("CTSF",)),
    "quality": Strategies(
        ("hsv", "lab", "rgi", "hue", "grey"),
        (50, 100, 150, 300),
        ("CTSF", "TSF", "F", "S"),
        (100, 200, 400),
        (10, 20),
        ("CTSF", "S"),
    ),
}


def selective_search(
    picture: NDArray[np.uint8],
    mode: str = "fast",
    max_proposals: int = 1000,
    seed: int = 0,
    longest_side: int = 320,
    min_size: float = 8.0,
) -> Floats:
    """Return at most ``max_proposals`` boxes (n, 4) of a picture (H, W, 3) uint8, best first.

    ``mode`` is ``fast`` or ``quality``; a picture larger than ``longest_side`` is searched at that
    size; boxes narrower or lower than ``min_size`` pixels of the picture are left out. The same
    arguments give the same boxes. Raises ValueError for anything but such a picture and for an
    unknown mode.

    Source: Uijlings et al. 2013. Deviations: superpixels as further initial regions (see
    :class:`Strategies`), smoothing of 0.4 instead of 0.8 and a fixed smallest region, for objects
    that are small or faint; histograms over each channel's own range; near duplicates removed.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or not picture.size:
        raise ValueError(
            "selective_search: expected a picture (H, W, 3) of uint8, "
            f"got {picture.shape} of {picture.dtype}"
        )
    if mode not in MODES:
        raise ValueError(f"selective_search: expected mode 'fast' or 'quality', got {mode!r}")
    if max_proposals < 1 or longest_side < 1:
        raise ValueError("selective_search: max_proposals and longest_side must be at least 1")
    small = _shrink(picture, longest_side)
    boxes = _rank(_hierarchies(small, MODES[mode]), seed)
    factor = np.array(picture.shape[1::-1]) / np.array(small.shape[1::-1])
    # The product is rounded: 241 pixels may become 241.00002, which is outside.
    boxes = clip_boxes_to_image(boxes * np.tile(factor, 2).astype(np.float32), picture.shape[:2])
    boxes = boxes[remove_small_boxes(boxes, min_size)]
    return _without_near_duplicates(boxes, max_proposals)


def _shrink(picture: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = picture.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _hierarchies(picture: NDArray[np.uint8], use: Strategies) -> list[Floats]:
    found = []
    for space in use.colour_spaces:
        image = to_colour_space(picture, space)
        codes = colour_codes(image), texture_codes(image)
        for threshold in use.thresholds:
            labels = initial_regions(image, threshold, SIGMA, MIN_REGION, MAX_REGIONS)
            regions = describe(labels, *codes)
            found += [hierarchy(regions, terms) for terms in use.similarities]
    lab = to_colour_space(picture, "lab")
    codes = colour_codes(lab), texture_codes(lab)
    for count in use.superpixel_counts:
        for compactness in use.compactness:
            regions = describe(superpixels(picture, count, compactness), *codes)
            found += [hierarchy(regions, terms) for terms in use.superpixel_similarities]
    return found


def _rank(found: list[Floats], seed: int) -> Floats:
    """Order the boxes of all hierarchies by position times a random number (section 4.1 there).

    The random factor mixes large and small; a box that many hierarchies hold has many chances of
    an early place.
    """
    position = np.concatenate([np.arange(1, len(boxes) + 1) for boxes in found])
    chance = np.random.default_rng(seed).random(len(position))
    boxes = np.concatenate(found)[np.argsort(position * chance, kind="stable")]
    first = np.unique(boxes, axis=0, return_index=True)[1]
    return boxes[np.sort(first)]


def _without_near_duplicates(boxes: Floats, limit: int) -> Floats:
    rest: NDArray[np.floating] = as_boxes(boxes)
    kept: list[NDArray[np.floating]] = []
    while len(rest) and len(kept) < limit:
        kept.append(rest[0])
        rest = rest[1:][box_iou(rest[:1], rest[1:])[0] <= NEAR_DUPLICATE]
    return np.array(kept, dtype=np.float32).reshape(-1, 4)
